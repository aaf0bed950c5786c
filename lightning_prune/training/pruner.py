"""The pruner: one event on a module in training, and its masks taken up again on resume."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytorch_lightning as pl

from lightning_prune.account import report
from lightning_prune.criteria import DataCriterion, Magnitude, Regrowth
from lightning_prune.methods import Method
from lightning_prune.network.graph import Graph
from lightning_prune.network.network import Network
from lightning_prune.prune import Loss, restart, select, watch, write
from lightning_prune.report import PruneReport
from lightning_prune.schedules import Schedule
from lightning_prune.structures import Measure
from lightning_prune.training.checks import check_still_zero
from lightning_prune.training.forward import example_forward, watched_run
from lightning_prune.training.masks import Masks
from lightning_prune.training.optimizers import clear_removed, raw_optimizer, refill
from lightning_prune.training.ranks import agree, fail_together, reduce_observations


class Pruner:
    """A method at work in a Trainer; the weights change, the module does not.

    Arguments:
        method: Criterion, structure, allocation.
        measure: What `keep` counts.
        batches: That a data-informed criterion sees, over all processes.
        loss: For gradient criteria; None: the module's `training_step`.
    """

    def __init__(self, method: Method, measure: Measure, batches: int, loss: Loss | None) -> None:
        self.method, self.measure = method, measure
        self.batches, self.loss = batches, loss

    def prune(  # noqa: PLR0913
        self,
        trainer: pl.Trainer,
        network: Network,
        masks: Masks,
        batch: Any,
        keep: float,
        *,
        nested: bool = True,
        hold: bool = True,
        progress: float = 0.0,
    ) -> PruneReport:
        """Restore, watch, score, allocate, agree with the other processes, write, record.

        Arguments:
            trainer: Running.
            network: The module in training.
            masks: Take the selection.
            batch: The batch at hand, for data that cannot be read by index.
            keep: Share of the dense network.
            nested: What earlier events removed stays removed.
            hold: What is removed now is held from now on.
            progress: Of the schedule, for criteria that regrow.
        """
        started = time.perf_counter()
        module: pl.LightningModule = trainer.lightning_module
        structure, criterion = self.method.structure, self.method.criterion
        if network.wants_example:
            network.offer_example(*example_forward(trainer, module, batch))
        parameters = {id(p) for p in module.parameters()}
        groups = structure.groups(network.layers, network.graph)
        for group in groups:
            structure.restore(group)
        if isinstance(criterion, DataCriterion):
            failure: Exception | None = None
            try:
                batches, run = watched_run(trainer, module, self.loss, self.batches)
                watch(network, criterion, batches, run)
            except Exception as error:
                failure = error
            fail_together(failure)
            reduce_observations(criterion)
        gone = masks.gone(groups) if nested else {}
        selection = agree(select(network, self.method, keep, self.measure, gone, progress))
        notes: list[str] = []
        if survived := restart(selection, self.method):
            for optimizer in trainer.optimizers:
                notes += clear_removed(raw_optimizer(optimizer), survived)
        write(selection)
        masks.record(selection.gains)
        if hold:
            masks.use(selection.gains, selection.rescaled)
        if {id(p) for p in module.parameters()} != parameters:
            refill([raw_optimizer(o) for o in trainer.optimizers], module.configure_optimizers())
        told = report(network, self.method, keep, self.measure, selection, started)
        return dataclasses.replace(told, notes=(*told.notes, *notes))

    def rehearse(
        self, trainer: pl.Trainer, network: Network, batch: Any, schedule: Schedule
    ) -> None:
        """Select what the last event would keep, and change nothing.

        Raises:
            ValueError: The share is out of reach, or weights are not numbers; at an event that
                would be known only after the training before it.
        """
        if not self.method.allocation.foreseen:
            return
        network.offer_example(*example_forward(trainer, trainer.lightning_module, batch))
        method = self.method
        if isinstance(method.criterion, DataCriterion | Regrowth):
            method = dataclasses.replace(method, criterion=Magnitude())
        select(network, method, min(schedule.targets().values()), self.measure)

    def resume(
        self,
        trainer: pl.Trainer,
        network: Network,
        masks: Masks,
        *,
        hold: bool,
        restored: bool,
    ) -> None:
        """Bring the masks of a checkpoint, or of an earlier fit, to work.

        Arguments:
            trainer: Running.
            network: The module in training.
            masks: Have their master copy.
            hold: Hold what is gone.
            restored: A checkpoint was loaded, and the weights with it.

        Raises:
            ValueError: They belong to another model or another choice of layers.
        """
        structure = self.method.structure

        def graph() -> Graph:  # only if asked for: a stream of data is begun for it
            network.offer_example(*example_forward(trainer, trainer.lightning_module, None))
            return network.graph()

        groups = structure.groups(network.layers, graph)
        masks.check(groups)
        if hold:
            gone = masks.gone(groups)
            settled = structure.settle({g: gone[g.name] for g in groups if g.name in gone})
            masks.use({group: (structure, gain) for group, gain in settled.items()})
            if not restored:
                check_still_zero(masks.broken())
            masks.apply()
