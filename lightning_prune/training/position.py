"""Position: where in its epochs a run stands, also after a resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl


def in_mid_epoch(trainer: pl.Trainer) -> bool:
    """Whether a run that starts continues an epoch that has batches left."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.current.ready > 0 and not progress.is_last_batch


def in_epoch(trainer: pl.Trainer) -> bool:
    """Whether it continues an epoch, or what follows the last batch of one."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return in_mid_epoch(trainer) or progress.processed < progress.started


def count_epoch(trainer: pl.Trainer) -> None:
    """Count an epoch whose batches have begun, if Lightning did not.

    It does not in the epoch after a resume from a checkpoint of a last batch. Checkpoints of that
    epoch would then say that none is under way, and a run resumed from one of them would serve
    the batches that are left as a whole epoch.
    """
    progress: Any = trainer.fit_loop.epoch_progress
    if progress.current.started == progress.current.processed:
        progress.increment_ready()
        progress.increment_started()
