"""Checkpoints of a stage: what a resume, the control and the curve need, and no more."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from lightning_prune.cli.experiment import Stage
from lightning_prune.lowrank import dense_shapes
from lightning_prune.schedules import Schedule
from lightning_prune.training.callback import Pruning


class StageCheckpoints(Checkpoint):
    """Saves a stage while it trains.

    - `last.ckpt` after every epoch, with the one before as `previous.ckpt`;
    - `dense.ckpt` just before the first event;
    - `cycles/event_00.pt`, ...: weights alone, just before every event; the n-th has seen n.

    A stage that stops before the first event is stopped here.

    Arguments:
        stage: Where to.
        schedule: When.
    """

    def __init__(self, stage: Stage, schedule: Schedule) -> None:
        self.stage = stage
        self.unit = schedule.unit
        self.times = list(schedule.targets())

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An event at time 0 has no epoch before it."""
        if self.times[0] == 0 and trainer.global_step == 0:
            save_weights(trainer, pl_module, self.stage.cycle(0))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """The end of a cycle that is counted in steps."""
        if self.unit == "step":
            self._end_cycle(trainer, pl_module, trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The end of an epoch, after its validation."""
        last = self.stage.checkpoints / "last.ckpt"
        if last.is_file() and trainer.is_global_zero:
            os.replace(last, last.with_name("previous.ckpt"))
        trainer.save_checkpoint(last)
        if self.unit == "epoch":
            self._end_cycle(trainer, pl_module, trainer.current_epoch + 1)

    def _end_cycle(self, trainer: pl.Trainer, module: pl.LightningModule, time: int) -> None:
        if time not in self.times:
            return
        events = self.times.index(time)
        save_weights(trainer, module, self.stage.cycle(events))
        if events == 0:
            trainer.save_checkpoint(self.stage.dense)
            trainer.should_stop = trainer.should_stop or self.stage.stops


def save_weights(trainer: pl.Trainer, module: pl.LightningModule, path: Path) -> None:
    """The weights and what was taken out of them; the file is whole, or it is not there."""
    if trainer.is_global_zero:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        removed = {
            callback.state_key: {"removal": callback.state_dict()["removal"]}
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(callback, Pruning)
        }
        torch.save({"state_dict": module.state_dict(), "callbacks": removed}, temporary)
        os.replace(temporary, path)


def check_fits(path: Path, task: pl.LightningModule) -> None:
    """Refuse a checkpoint that is no Lightning checkpoint of this network.

    Raises:
        ValueError: It holds objects that would have to be executed to load, is of another
            program, or of another network.
    """
    try:
        found = torch.load(path, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        raise ValueError(
            f"The checkpoint {path} holds more than tensors, numbers, strings, lists and dicts; "
            "loading it could execute code, so it is refused."
        ) from None
    if not isinstance(found, dict) or not {"state_dict", "epoch", "optimizer_states"} <= set(found):
        raise ValueError(
            f"{path} is no checkpoint of a Lightning training, so nothing can go on from it."
        )
    mine, theirs = (dense_shapes(task, state) for state in (task.state_dict(), found["state_dict"]))
    for name in mine.keys() & _thin(found.get("callbacks", {})):
        mine[name] = theirs.get(name, mine[name])
    if mine != theirs:
        differing = sorted(n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n))
        raise ValueError(
            f"The checkpoint {path} is of another network: {len(differing)} entries differ, such "
            f"as {differing[0]}; use the model that it was trained with."
        )


def _thin(callbacks: Mapping[str, Any]) -> set[str]:
    """Names of tensors that got smaller in training."""
    states = [state for state in callbacks.values() if isinstance(state, dict)]
    return {name for state in states for name in (state.get("removal") or {}).get("shapes", {})}
