"""Advice: what a run may do otherwise than its user thinks, in one warning each."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from lightning_prune.schedules import Schedule
from lightning_prune.training.position import in_mid_epoch

if TYPE_CHECKING:
    import pytorch_lightning as pl


def warn_of_early_choices(schedule: Schedule, trainer: pl.Trainer) -> None:
    """Warn of callbacks that may stop, or choose a checkpoint, before the last event."""
    last = max(schedule.targets())
    named = []
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        kind = type(callback).__name__
        monitor = getattr(callback, "monitor", None)
        if kind == "EarlyStopping":
            named.append("EarlyStopping may end the run")
        elif monitor and "Checkpoint" in kind and getattr(callback, "save_top_k", 0) != -1:
            named.append(f"{kind}(monitor={monitor!r}) may choose weights")
    if named:
        warnings.warn(
            f"{' and '.join(named)} before the last pruning event at {schedule.unit} {last}, with "
            "more weights than asked for; watch 'prune/keep' beside it, or use save_last.",
            stacklevel=2,
        )


def warn_of_late_snapshot(to: int, now: int, unit: str) -> None:
    """Warn that what is rewound to is not what the arguments say."""
    if now > to:
        warnings.warn(
            f"Rewind(to={to}) goes back to {unit} {now}, where this run joined: the checkpoint it "
            "came from holds no earlier rewind point.",
            stacklevel=2,
        )


def warn_of_plain_loader(trainer: pl.Trainer) -> None:
    """Warn, once, that a run resumed in mid-epoch will see, or sees, other batches."""
    saves = any(getattr(c, "_every_n_train_steps", 0) for c in trainer.checkpoint_callbacks)
    loaders = trainer.train_dataloader
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    loaders = loaders if isinstance(loaders, list | tuple) else [loaders]
    plain = [loader for loader in loaders if not hasattr(loader, "load_state_dict")]
    if plain and (saves or in_mid_epoch(trainer)):
        warnings.warn(
            f"The training loader ({type(plain[0]).__name__}) has no state_dict, so a run that "
            "resumes in mid-epoch starts its data again and will not repeat the uninterrupted run; "
            "checkpoints at epoch ends do, as does lightning_prune.data.ResumableLoader.",
            stacklevel=2,
        )
