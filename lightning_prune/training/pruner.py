"""The pruner: one event on a module in training, and its masks taken up again on resume."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl

from lightning_prune.account import report
from lightning_prune.allocations import Selection
from lightning_prune.bounds import foresee, measure_bounds, measure_errors
from lightning_prune.criteria import DataCriterion
from lightning_prune.fold import fold_constants
from lightning_prune.lowrank import remembered
from lightning_prune.methods import Method
from lightning_prune.network.graph import Graph
from lightning_prune.network.latency import LatencyTables
from lightning_prune.network.network import Network
from lightning_prune.network.samples import Amount, check_amount, numbered
from lightning_prune.network.statistics import norms_with_statistics, renew_statistics
from lightning_prune.prune import Loss, recalibrates, watch
from lightning_prune.report import PruneReport
from lightning_prune.schedules import Schedule
from lightning_prune.selection import restart, select, stand_in, write
from lightning_prune.structures import Measure
from lightning_prune.training.checks import check_still_zero
from lightning_prune.training.forward import (
    NoForwardError,
    drawn_batches,
    example_forward,
    runner,
    watched_run,
)
from lightning_prune.training.latency import timed
from lightning_prune.training.masks import Masks
from lightning_prune.training.momenta import Momenta
from lightning_prune.training.optimizers import clear_removed, raw_optimizer, refill
from lightning_prune.training.ranks import (
    agree,
    fail_together,
    reduce_observations,
    share_biases,
    share_statistics,
)


class Pruner:
    """A method at work in a Trainer; the weights change, the module does not.

    Arguments:
        method: Criterion, structure, allocation.
        measure: What `keep` counts.
        batches: That a data-informed criterion sees, over all processes, or `Samples`.
        loss: For gradient criteria; None: the module's `training_step`.
        recalibrate: Estimate statistics of norms anew; None: for structured methods.
    """

    def __init__(
        self,
        method: Method,
        measure: Measure,
        batches: Amount,
        loss: Loss | None,
        recalibrate: bool | None = None,
    ) -> None:
        check_amount(batches)
        self.method, self.measure = method, measure
        self.tables = measure if isinstance(measure, LatencyTables) else None
        self.batches, self.loss, self.recalibrate = batches, loss, recalibrate

    @remembered()
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
        self._time(trainer, network, batch)
        parameters = {id(p) for p in module.parameters()}
        optimizers = [raw_optimizer(o) for o in trainer.optimizers]
        changes = structure.changes_parameters
        momenta = Momenta(optimizers, network.layers) if changes else None
        for layer in network.layers:
            structure.restore(layer)
        if changes:
            network.traced()  # now, before the layers become others
        groups = structure.groups(network.layers, network.graph)
        if isinstance(criterion, DataCriterion):
            self._watch(trainer, network, criterion)
        gone = masks.gone(groups) if nested else {}
        selection = agree(select(network, self.method, keep, self.measure, gone, progress))
        look = runner(trainer, module, labels=False)
        # every process looks at the same batches, so all of them measure the same
        draw = functools.partial(self._drawn, trainer, network)
        bounds = measure_bounds(network, self.method, selection, gone, draw, look)
        notes = self._fold(trainer, network, selection, batch)
        if survived := restart(selection, self.method):
            notes += [note for o in optimizers for note in clear_removed(o, survived)]
        foreseen = foresee(selection)
        write(selection)
        bounds = measure_errors(foreseen) or bounds
        masks.record(selection.gains)
        if hold:
            masks.use(selection.gains, selection.rescaled)
        if {id(p) for p in module.parameters()} != parameters:
            refill(optimizers, module.configure_optimizers())
            notes += momenta.give(network.layers) if momenta is not None else []
        if recalibrates(self.method, self.recalibrate, selection):
            notes += self._renew(trainer, network)
        return report(network, self.method, keep, self.measure, selection, started, bounds, notes)

    def _time(self, trainer: pl.Trainer, network: Network, batch: Any) -> None:
        """Let the network know what its layers cost in time, if that is counted."""
        if self.measure == "latency" and self.tables is None:
            self.tables = timed(trainer, batch)
        network.latency = self.tables

    def state_dict(self) -> dict[str, Any]:
        """The tables of latencies, once they were measured: all events count in the same."""
        return {} if self.tables is None else {"latency": self.tables.to_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Count in the tables of a checkpoint, where it has some."""
        if "latency" in state and self.measure not in ("params", "macs"):
            self.tables = LatencyTables.from_dict(state["latency"])
            self.measure = "latency"

    def _fold(
        self, trainer: pl.Trainer, network: Network, selection: Selection, batch: Any
    ) -> list[str]:
        """Fold what units without input pass on, alike on every process."""
        if not selection.chosen and not self.method.structure.structured:
            return []
        forward, _ = example_forward(trainer, trainer.lightning_module, batch)
        notes = fold_constants(network, selection, forward)
        share_biases(network)
        return notes

    def _watch(self, trainer: pl.Trainer, network: Network, criterion: DataCriterion) -> None:
        """Show the network to the criterion, a share on every process."""
        failure: Exception | None = None
        try:
            module = trainer.lightning_module
            amount = numbered(self.batches, network)
            batches, run = watched_run(trainer, module, criterion, self.loss, amount)
            watch(network, criterion, batches, run)
        except Exception as error:
            failure = error
        fail_together(failure)
        reduce_observations(criterion)

    def _drawn(
        self, trainer: pl.Trainer, network: Network, held_out: bool = False
    ) -> Iterator[Any]:
        """Of every process the same; see `drawn_batches`."""
        return drawn_batches(trainer, numbered(self.batches, network), held_out=held_out)

    def _renew(self, trainer: pl.Trainer, network: Network) -> list[str]:
        """Estimate statistics of norms anew, alike on every process; or say why not."""
        module = trainer.lightning_module
        norms = norms_with_statistics(module)
        if not norms:
            return []
        look = runner(trainer, module, labels=False)
        try:
            renew_statistics(module, self._drawn(trainer, network), look)
        except NoForwardError as error:
            if self.recalibrate:
                raise
            return [f"the running statistics of norms were not estimated anew: {error}"]
        share_statistics(norms)
        return []

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
        self._time(trainer, network, batch)
        select(network, stand_in(self.method), min(schedule.targets().values()), self.measure)

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
