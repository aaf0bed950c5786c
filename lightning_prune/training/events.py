"""The log of a run's events: in the checkpoint, on the console, in loggers and in files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_prune.folder import RunFolder
from lightning_prune.report import PruneReport, bounds_of
from lightning_prune.training import images
from lightning_prune.training.archive import Archive
from lightning_prune.training.console import Console

if TYPE_CHECKING:
    import pytorch_lightning as pl

PAUSE = 1.0  # seconds between two writings of the files, at least
PATIENCE = 200  # and so many times as long as writing takes, which grows with the events


class EventLog:
    """What every event did, and the metrics at the end of the cycle that it began."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.dense_metrics: dict[str, float] = {}
        self.console = Console()
        self._restored: dict[str, float] = {}
        self._folder: RunFolder | None = None
        self._suffix = ""
        self._archive = Archive()
        self._unwritten, self._not_before = False, 0.0

    def open(
        self,
        trainer: pl.Trainer,
        folder: str | Path | None,
        verbose: bool = True,
        others: int = 0,
        planned: int = 0,
    ) -> None:
        """Choose where files go: the folder, else the logger's, else nowhere.

        Arguments:
            trainer: Running.
            folder: For the files.
            verbose: Print.
            others: Logs of the same run that come before this one and have the plain names.
            planned: Events of the whole schedule.
        """
        self.console.verbose = verbose and trainer.is_global_zero
        self.console.planned = planned
        self._suffix = f"_{others + 1}" if others else ""
        place = folder or (trainer.log_dir if trainer.loggers else None)
        if place and not folder and others:
            place = Path(place) / f"pruning{self._suffix}"
        self._folder = RunFolder(place) if place and trainer.is_global_zero else None
        self._unwritten, self._not_before = bool(self.events), 0.0

    def named(self, quantity: str) -> str:
        """The name of a logged quantity; a second log of a run has names of its own."""
        return f"prune/{quantity}{self._suffix}"

    def latest(self, trainer: pl.Trainer) -> dict[str, float]:
        """The metrics as they were last logged, before the checkpoint if not since."""
        logged = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if isinstance(value, Tensor) and value.numel() == 1 and not name.startswith("prune/")
        }
        return self._restored | logged

    def end_cycle(self, trainer: pl.Trainer) -> None:
        """Keep the latest metrics with the event that began the cycle."""
        metrics = self.latest(trainer)
        if self.events:
            self.events[-1]["metrics"] = metrics
        else:
            self.dense_metrics = metrics

    def add(
        self,
        trainer: pl.Trainer,
        report: PruneReport | None,
        keep: float,
        seconds: float,
        notes: list[str],
    ) -> None:
        """Record an event, tell it, log it and write it; `report` is None for the control."""
        event: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        event |= report.to_dict() if report else {"keep": keep, "layers": [], "notes": []}
        event |= {"keep_target": keep, "seconds": seconds, "metrics": {}}
        event["notes"] = [*event["notes"], *notes]
        self.events.append(event)
        self.console.event(len(self.events), event)
        if trainer.loggers:
            numbers = {self.named(n): float(event[n]) for n in ("keep", "keep_target", "seconds")}
            bounds = ("bound", "error")
            numbers |= {self.named(n): event[n] for n in bounds if event.get(n) is not None}
            for layer in event["layers"]:
                numbers[f"prune/{layer['name']}"] = layer["nonzero"] / max(layer["params"], 1)
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=trainer.global_step)
        images.draw_event(trainer, self.events, self.console.planned, self.named("layers"))
        self._unwritten = True
        self.catch_up()

    def close(self, trainer: pl.Trainer) -> None:
        """End the last cycle and tell the whole."""
        if not self.events:
            return
        self.end_cycle(trainer)
        self._restored = {}
        self._unwritten = True
        self.write()
        images.draw_end(trainer, self.events, self.dense_metrics, self.console.planned, self.named)
        self.console.left(self.events[-1])

    def catch_up(self) -> None:
        """Write the files if an event is missing in them, and they were not written just now.

        They are written as a whole, which takes longer with every event, so events that follow
        fast on one another share a writing. A run that is killed lacks some in its files; the
        run resumed from its checkpoint has them, and writes them.
        """
        if self._unwritten and time.monotonic() >= self._not_before:
            self.write()

    def write(self) -> None:
        """Write the files if an event is missing in them."""
        if self._folder is None or not self._unwritten:
            return
        began = time.monotonic()
        self._folder.write_events(self.events)
        self._folder.write_layers(self.events)
        self._folder.update_report(
            events=self.events,
            layers=self.events[-1]["layers"] if self.events else [],
            bounds=bounds_of(self.events),
        )
        self._unwritten, ended = False, time.monotonic()
        self._not_before = ended + max(PAUSE, PATIENCE * (ended - began))

    def state_dict(self, trainer: pl.Trainer | None = None) -> dict[str, Any]:
        """Numbers, strings, lists and dicts; of a Trainer's run, with its metrics so far."""
        events, dense = self.events, self.dense_metrics
        if trainer is not None and events:
            events = [*events[:-1], {**events[-1], "metrics": self.latest(trainer)}]
        elif trainer is not None:
            dense = self.latest(trainer)
        return {"events": self._archive.pack(events), "dense": dense}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a log."""
        self.events, self._archive = Archive.unpack(state["events"]), Archive()
        self.dense_metrics = dict(state["dense"])
        # Lightning forgets them, and the next event may come before they are logged again
        self._restored = dict(self.events[-1]["metrics"] if self.events else self.dense_metrics)
