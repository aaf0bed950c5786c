"""Cases of a run that is resumed from every one of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from subject import Data, differences, fit

from lightning_prune import Pruning, Rewind, Steps
from lightning_prune.schedules import Schedule
from lightning_prune.training.events import EventLog

EPOCHS = Steps({1: 0.7, 2: 0.5, 3: 0.3})
STEPS = Steps({3: 0.7, 6: 0.5, 10: 0.3}, unit="step")

# of what a run leaves, what a resumed one leaves too; `random` only if its loaders draw nothing
SAME = ("weights", "masks", "optimizers", "schedulers", "position", "snapshot", "events", "random")


@dataclass(frozen=True)
class Case:
    """A training, and how often it saves.

    Arguments:
        method: Of the pruning.
        rewind: Of the pruning.
        schedule: Of the pruning; five epochs have 20 batches.
        data: `pure`, `noisy` or `plain`, see `Data`.
        workers: Of the training loader.
        every: Steps between two checkpoints; 0 for none.
        hold: Of the pruning.
        options: Of the Trainer.
        count: Training samples.
        thin: Of the pruning.
    """

    method: str
    rewind: Rewind | None = None
    schedule: Schedule = EPOCHS
    data: str = "pure"
    workers: int = 0
    every: int = 3
    hold: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    count: int = 64
    thin: bool = False

    def pruning(self) -> Pruning:
        return Pruning(
            self.method,
            self.schedule,
            rewind=self.rewind,
            hold=self.hold,
            thin=self.thin,
            verbose=False,
        )

    def fit(self, seed: int, **options: Any) -> dict[str, Any]:
        """Train, in whole or from a checkpoint."""
        data = Data(self.data, self.workers, self.count)
        return fit(self.pruning(), seed=seed, data=data, **self.options, **options)

    def callbacks(self, folder: Path) -> list[pl.Callback]:
        """Checkpoints within epochs and on their last batches, after validation, at epochs' ends.

        They differ in a monitor, without which two of them would be one to Lightning.
        """
        keep: dict[str, Any] = {"dirpath": folder, "save_top_k": -1}
        ends = ModelCheckpoint(filename="{step}-end", save_on_train_epoch_end=True, **keep)
        validated = ModelCheckpoint(
            filename="{step}-val", monitor="val_loss", save_on_train_epoch_end=False, **keep
        )
        if not self.every:
            return [ends, validated]
        steps = ModelCheckpoint(filename="{step}-step", every_n_train_steps=self.every, **keep)
        return [steps, ends, validated]


def files(folder: Path) -> list[Path]:
    """The checkpoints in the order of their steps."""
    return sorted(folder.glob("*.ckpt"), key=lambda file: (steps_of(file), file.name))


def steps_of(file: Path) -> int:
    return int(file.stem.split("-")[0].removeprefix("step="))


def resume_all(case: Case, found: list[Path]) -> dict[str, dict[str, Any]]:
    """Resume from every checkpoint in turn, with another seed than the first run had."""
    return {file.name: case.fit(seed=7, resume=file) for file in found}


def unlike(straight: dict[str, Any], resumed: dict[str, Any], file: Path) -> list[str]:
    """Where a resumed run differs from the uninterrupted one, in the end or in any step."""
    saved = torch.load(file, weights_only=True)
    done, log = saved["batches"], EventLog()
    log.load_state_dict(saved["callbacks"]["Pruning"]["history"])
    found = differences(straight["losses"][done:], resumed["losses"], "losses")
    for event, weights in resumed["after"].items():
        found += differences(straight["after"][event], weights, f"after event {event}")
    if len(resumed["after"]) != len(straight["after"]) - len(log.events):
        found.append("the number of events after the checkpoint")
    one, other = ({key: run[key] for key in SAME} for run in (straight, resumed))
    validated = file.with_name(file.name.replace("-step", "-val"))
    if file.stem.endswith("-step") and validated.is_file():
        # Lightning leaves out the validation that was due next, so its scores are those before
        one, other = ({**run, "events": unscored(run["events"])} for run in (one, other))
    return found + differences(one, other)


def unscored(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**event, "metrics": {}} for event in events]
