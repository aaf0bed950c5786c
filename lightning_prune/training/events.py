"""The log of a run's events: in the checkpoint, on the console, in loggers and in files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_prune.report import PruneReport, keep_text, layer_table
from lightning_prune.training.folder import RunFolder

if TYPE_CHECKING:
    import pytorch_lightning as pl


class EventLog:
    """What every event did, and the metrics at the end of the cycle that it began."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.dense_metrics: dict[str, float] = {}
        self._restored: dict[str, float] = {}
        self._folder: RunFolder | None = None
        self._suffix = ""
        self.verbose = True

    def open(
        self,
        trainer: pl.Trainer,
        folder: str | Path | None,
        verbose: bool = True,
        others: int = 0,
    ) -> None:
        """Choose where files go: the folder, else the logger's, else nowhere.

        Arguments:
            trainer: Running.
            folder: For the files.
            verbose: Print.
            others: Logs of the same run that come before this one and have the plain names.
        """
        self.verbose = verbose and trainer.is_global_zero
        self._suffix = f"_{others + 1}" if others else ""
        place = folder or (trainer.log_dir if trainer.loggers else None)
        if place and not folder and others:
            place = Path(place) / f"pruning{self._suffix}"
        self._folder = RunFolder(place) if place and trainer.is_global_zero else None

    def named(self, quantity: str) -> str:
        """The name of a logged quantity; a second log of a run has names of its own."""
        return f"prune/{quantity}{self._suffix}"

    def say(self, text: str) -> None:
        """One line on the console of rank 0."""
        if self.verbose:
            print(text, flush=True)

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
        where = f"epoch {event['epoch']}, step {event['step']}"
        if report:
            self.say(
                f"{where}: {keep_text(report.keep)} of {report.dense:,} {report.measure}, "
                f"{report.nonzero:,} non-zero, in {seconds:.2f} s"
            )
        else:
            self.say(f"{where}: the control prunes nothing")
        for note in event["notes"]:
            self.say(f"  note: {note}")
        numbers = {self.named(n): float(event[n]) for n in ("keep", "keep_target", "seconds")}
        for layer in event["layers"]:
            numbers[f"prune/{layer['name']}"] = layer["nonzero"] / max(layer["params"], 1)
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
        self._write()

    def close(self, trainer: pl.Trainer) -> None:
        """End the last cycle and tell the whole."""
        if not self.events:
            return
        self.end_cycle(trainer)
        self._restored = {}
        self._write()
        last = self.events[-1]
        if self.verbose and last["layers"]:
            from rich.console import Console

            Console().print(layer_table(last["layers"], f"left: {keep_text(last['keep'])}"))

    def _write(self) -> None:
        if self._folder is not None:
            self._folder.write_events(self.events)
            self._folder.write_layers(self.events)
            self._folder.update_report(
                events=self.events, layers=self.events[-1]["layers"] if self.events else []
            )

    def state_dict(self, trainer: pl.Trainer | None = None) -> dict[str, Any]:
        """Numbers, strings, lists and dicts; of a Trainer's run, with its metrics so far."""
        events, dense = list(self.events), self.dense_metrics
        if trainer is not None and events:
            events[-1] = {**events[-1], "metrics": self.latest(trainer)}
        elif trainer is not None:
            dense = self.latest(trainer)
        # rows of layers that are mostly alike: a tenth of what they would take as they are
        packed = zlib.compress(json.dumps(events).encode())
        return {"events": torch.frombuffer(bytearray(packed), dtype=torch.uint8), "dense": dense}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a log."""
        self.events = json.loads(zlib.decompress(state["events"].numpy().tobytes()))
        self.dense_metrics = dict(state["dense"])
        # Lightning forgets them, and the next event may come before they are logged again
        self._restored = dict(self.events[-1]["metrics"] if self.events else self.dense_metrics)
