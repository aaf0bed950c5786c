"""A training that can be killed at any moment, and leaves half a file if it saves just then."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from cases import SAME, Case
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightning_prune import Polynomial, Rewind

EPOCHS = 24  # of four batches
CASE = Case(
    "magnitude", Rewind(0, weights=True), Polynomial(first=1, last=22, every=3, keep=0.2),
    data="noisy", options={"max_epochs": EPOCHS, "limit_val_batches": 0},
)  # fmt: skip
PIECES = 8


class Clock:
    """A file that grows by one letter with everything that happens; who kills looks at it."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def tick(self, letter: str) -> None:
        os.write(self.file, letter.encode())


class SlowWriter(TorchCheckpointIO):
    """Writes a checkpoint in place and in pieces, as a remote file system may."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def save_checkpoint(self, checkpoint: dict, path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        size = -(-len(content) // PIECES)
        with open(path, "wb", buffering=0) as file:
            for start in range(0, len(content), size):
                file.write(content[start : start + size])
                self.clock.tick("w")
                time.sleep(0.005)


class Ticks(pl.Callback):
    """Tells the beginning and the end of batches."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *_: Any) -> None:
        self.clock.tick("b")

    def on_before_zero_grad(self, *_: Any) -> None:
        self.clock.tick("z")

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.tick("e")


def live(folder: Path, clock: Path, seed: int, resume: Path | None) -> dict[str, Any]:
    """Train to the end, or until killed; a checkpoint every third step, of which one is kept."""
    time_of = Clock(clock)
    time_of.tick("s")
    saver = ModelCheckpoint(folder, "{step}", every_n_train_steps=3)
    run = CASE.fit(
        seed, resume=resume, callbacks=[Ticks(time_of), saver], plugins=[SlowWriter(time_of)]
    )
    return {**{key: run[key] for key in SAME}, "losses": run["losses"]}


def undisturbed() -> dict[str, Any]:
    """The same training without anything that could be killed."""
    run = CASE.fit(seed=0)
    return {**{key: run[key] for key in SAME}, "losses": run["losses"]}
