"""What gradual pruning by the step costs: an event of a cubic schedule beside 100 training steps.

Both are timed in one training, in which they take turns: the steps as the Trainer runs them, and
the whole events, each with its report, its line on the console and its files.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from timing import table
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Polynomial, Pruning
from lightning_prune.models import LeNet300, ResNet
from lightning_prune.training.run import Run

BATCH, EVERY, KEEP = 128, 100, 0.1
TARGET = 0.01

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    # model, shape of an image, steps
    "lenet_300_100": (LeNet300, (1, 28, 28), 2000),
    "resnet20": (lambda: ResNet(20), (3, 32, 32), 201),
}


class Module(pl.LightningModule):
    """Momentum, as usual."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class Stopwatch(pl.Callback):
    """Seconds of processor time from each batch's start to the next, and of the event in it."""

    def __init__(self) -> None:
        self.batches: list[float] = []
        self.events: dict[int, float] = {}
        self._started: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stands before `Pruning` in the list."""
        now = time.process_time()
        if self._started is not None:
            self.batches.append(now - self._started)
        self._started = now


def measure(case: str, steps: int | None = None) -> dict[str, float]:
    """Milliseconds of a step and of an event, and the share of the events in the training."""
    make, shape, usual = CASES[case]
    steps = steps or usual
    torch.manual_seed(0)
    count = BATCH * 20
    data = TensorDataset(torch.randn(count, *shape), torch.randint(0, 10, (count,)))
    schedule = Polynomial(first=0, last=steps - 1, every=EVERY, keep=KEEP, unit="step")
    watch, whole = Stopwatch(), Run._event

    def timed(*arguments: Any) -> None:
        start = time.process_time()
        whole(*arguments)
        watch.events[len(watch.batches)] = time.process_time() - start

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    Run._event = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            pruning = Pruning("magnitude", schedule, folder=folder)
            trainer = pl.Trainer(
                max_steps=steps,
                max_epochs=-1,
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[watch, pruning],
            )
            trainer.fit(Module(make()), DataLoader(data, batch_size=BATCH))
    finally:
        Run._event = whole  # type: ignore[method-assign]
        torch.set_num_threads(threads)
    plain = [s for i, s in enumerate(watch.batches) if i not in watch.events]
    step, event = statistics.median(plain), statistics.median(watch.events.values())
    return {
        "params": sum(layer["params"] for layer in pruning.events[-1]["layers"]),
        "steps": steps,
        "events": len(watch.events),
        "step_ms": 1e3 * step,
        "event_ms": 1e3 * event,
        "share": event / (event + EVERY * step),
    }


def show(found: dict[str, dict[str, float]]) -> None:
    """The figures beside their target."""
    for case, figures in found.items():
        table(
            f"gradual pruning, {case}: {figures['params']:,.0f} weights, batch {BATCH}, "
            f"an event every {EVERY} steps, one thread",
            [
                ("training step", f"{figures['step_ms']:10.2f} ms"),
                (f"event, median of {figures['events']:.0f}", f"{figures['event_ms']:10.2f} ms"),
                (
                    "  share of the training",
                    f"{100 * figures['share']:10.2f} %   target <= {100 * TARGET:g} %",
                ),
            ],
        )


if __name__ == "__main__":
    show({case: measure(case) for case in CASES})
