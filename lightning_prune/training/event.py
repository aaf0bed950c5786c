"""One event: prune, go back in time, and let nothing remember what is gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from lightning_prune.report import PruneReport
from lightning_prune.training.averaging import mask_averages
from lightning_prune.training.optimizers import clear_removed, raw_optimizer
from lightning_prune.training.soft import Soft
from lightning_prune.training.take_out import take_out

if TYPE_CHECKING:
    from lightning_prune.training.run import Run


def perform(run: Run, trainer: pl.Trainer, batch: Any, at: int, keep: float) -> None:
    """Do what is due.

    Arguments:
        run: Whose event it is.
        trainer: Running.
        batch: The batch at hand.
        at: Time of the event in the schedule.
        keep: Share of the dense network.
    """
    started = time.perf_counter()
    module: pl.LightningModule = trainer.lightning_module
    optimizers = [raw_optimizer(optimizer) for optimizer in trainer.optimizers]
    run.history.end_cycle(trainer)
    told = _pruned(run, trainer, batch, at, keep)
    notes: list[str] = []
    if run.rewind and run.snapshot is not None:
        notes += run.rewind.restore(trainer, module, run.snapshot, changes=run.changes)
        run.masks.apply()
    if run.masks.held:
        for optimizer in optimizers:
            notes += clear_removed(optimizer, run.masks.held)
        mask_averages(module, trainer.callbacks, run.masks.held)  # type: ignore[attr-defined]
    if run.removal and run.pruner and run.network and run.masks:
        run.network, kept = take_out(
            run.removal, run.pruner, run.network, run.masks, trainer, batch, run.snapshot
        )
        notes += kept
    run.held.assign(optimizers, run.masks)
    if run.pruner is not None and run.network is not None:
        run.dense = {"params": run.network.params}
    run.history.add(trainer, told, keep if told else 1.0, time.perf_counter() - started, notes)


def _pruned(run: Run, trainer: pl.Trainer, batch: Any, at: int, keep: float) -> PruneReport | None:
    """Prune, if the run does; where units may come back, they get their values back."""
    if run.pruner is None or run.network is None:
        return None
    hold = run.hold or at >= run.latest
    soft = None if hold else Soft(trainer.lightning_module)
    told = run.pruner.prune(
        trainer,
        run.network,
        run.masks,
        batch,
        keep,
        nested=run.hold,
        hold=hold,
        progress=run.schedule.progress(at),
    )
    if soft is not None:
        structure = run.pruner.method.structure
        groups = structure.groups(run.network.layers, run.network.graph)
        soft.give_back(structure, groups, run.masks.gone(groups))
    return told
