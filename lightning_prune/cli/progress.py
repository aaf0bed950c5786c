"""Progress: one bar over the epochs of a stage."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EpochBar(pl.Callback):
    """A bar with the main metric of the validation and the share that is kept.

    Where the output is no terminal, nothing is drawn.

    Arguments:
        title: What is being trained.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar, where a resumed run left it."""
        console = Console()
        if not trainer.is_global_zero or not console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scores]}"),
            console=console,
        )
        total = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None
        self.task = self.bar.add_task(
            self.title, total=total, completed=trainer.current_epoch, scores=""
        )
        self.bar.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One epoch further."""
        if self.bar is None:
            return
        metrics = trainer.callback_metrics
        shown = [f"val/{getattr(pl_module, 'main_metric', 'loss')}", "prune/keep"]
        scores = "  ".join(
            f"{name} {float(metrics[name]):.3f}" for name in shown if name in metrics
        )
        self.bar.update(self.task, completed=trainer.current_epoch + 1, scores=scores)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the full bar on the screen."""
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal in order."""
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies draw no bar of their own."""
        return self.__dict__ | {"bar": None}
