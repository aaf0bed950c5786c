"""The manifest: what was exported of a run, side by side in numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lightning_prune.cli.checks import short
from lightning_prune.cli.scores import Scores
from lightning_prune.evaluation.meter import measure_speed
from lightning_prune.evaluation.reasons import speed_notes
from lightning_prune.evaluation.size import count_size
from lightning_prune.export import Exported
from lightning_prune.folder import RunFolder
from lightning_prune.methods import method_name

SCHEMA = 1
COUNTS = ("params", "nonzero", "macs", "bytes")
WIDE = 130  # characters in a line of a file


class Manifest:
    """Rows of networks and files, and notes.

    Arguments:
        scores: Of the run.
        output: Where it is written to.
        example: A batch of network inputs.
        device: Where torch measures.
    """

    def __init__(self, scores: Scores, output: Path, example: Any, device: torch.device) -> None:
        self.scores, self.output, self.example, self.device = scores, output, example, device
        self.method = method_name(scores.experiment.pruned.method)
        self.rows: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self._sides: dict[str, nn.Module | Callable[..., object]] = {}

    def note(self, text: str) -> None:
        """Something that is to be said."""
        self.notes.append(text)

    def add(
        self,
        name: str,
        task: pl.LightningModule,
        file: Exported | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """A network.

        Arguments:
            name: Of the row.
            task: Of the network.
            file: That holds it, if there is one.
            metrics: That are known; None: it is tested.
        """
        net = getattr(task, "net", None)
        net = net if isinstance(net, nn.Module) else task
        size = count_size(net, self.example)
        size.pop("latency_ms")
        self.rows[name] = {**size, "metrics": metrics}
        if file is not None:
            self.rows[name] |= {"bytes": file.bytes, "file": file.path.name}
        if metrics is None:
            self.rows[name]["metrics"] = self.scores.test(task.to(self.device))
        self._sides[name] = net.eval().to(self.device)

    def add_file(
        self,
        name: str,
        file: Exported,
        run: Callable[[Any], list[Tensor]],
        tested: pl.LightningModule | None,
    ) -> None:
        """A file of the thin network.

        Arguments:
            name: Of the row.
            file: What was written.
            run: (example) -> its outputs.
            tested: A task whose network the file stands for; None: it is not tested.
        """
        thin = self.rows["thin"]
        told = {"file": file.path.name, "error": file.error, "opset": file.opset}
        self.rows[name] = {
            **{key: thin[key] for key in ("params", "nonzero", "macs", "macs_effective")},
            "bytes": file.bytes,
            "metrics": {},
            **told,
        }
        if tested is not None:
            net, tested.net = tested.net, Elsewhere(run)
            try:
                self.rows[name]["metrics"] = self.scores.test(tested)
            finally:
                tested.net = net
        self._sides[name] = lambda *args, **kwargs: run(kwargs or args)

    def finish(self, known: Mapping[str, Any], checkpoint: str) -> None:
        """Measure by turns, write `export.json` and `export.csv`, and print the table.

        Arguments:
            known: The report of the run.
            checkpoint: Name of the file that was exported.
        """
        speeds = measure_speed(self._sides, self.example, batches=(1,), device=self.device)
        for speed in speeds:
            self.rows[speed.name]["latency_ms"] = speed.median_ms
        models = {name: side for name, side in self._sides.items() if isinstance(side, nn.Module)}
        own = [speed for speed in speeds if speed.name in ("dense", "thin")]
        self.notes += speed_notes(own, models=models, example=self.example)
        metric = known["extra"].get("main_metric")
        if metric is None:
            metric = next((key for row in self.rows.values() for key in row["metrics"]), None)
        results = RunFolder(self.output)
        results.write_json(
            "export.json",
            {
                "schema": SCHEMA,
                "method": self.method,
                "checkpoint": checkpoint,
                "main_metric": metric,
                "rows": self.rows,
                "notes": self.notes,
                "device": self.device.type,
                "environment": self.scores.experiment.environment(),
            },
        )
        (self.output / "export.csv").write_text(self._csv(), encoding="utf-8")
        self._show(metric)

    def _csv(self) -> str:
        metrics = dict.fromkeys(key for row in self.rows.values() for key in row["metrics"])
        columns = [*COUNTS[:3], "macs_effective", "bytes", "latency_ms", "error", "opset", "file"]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["network", *columns, *metrics])
        for name, row in self.rows.items():
            scores = [row["metrics"].get(key) for key in metrics]
            writer.writerow([name, *(row.get(column) for column in columns), *scores])
        return text.getvalue()

    def _show(self, metric: str | None) -> None:
        console = Console()
        if not console.is_terminal:
            console.width = WIDE
        table = Table(
            title=f"{self.method} ({self.device.type}, one thread)",
            caption="macs: multiply-adds of one sample; bytes: of the file, else of the tensors; "
            "ms: median of one sample's forward",
            pad_edge=False,
        )
        table.add_column("network")
        for heading in (*COUNTS, "ms", metric or ""):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, row in self.rows.items():
            counts = ["" if row[key] is None else f"{row[key]:,}" for key in COUNTS]
            score = row["metrics"].get(metric)
            shown = "" if score is None else f"{score:.4f}"
            table.add_row(name, *counts, f"{row['latency_ms']:.3g}", shown)
        console.print(table)
        for note in self.notes:
            console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
        where = f"files and tables: {short(self.output)}"
        console.print(where, highlight=False, soft_wrap=True)


class Elsewhere(nn.Module):
    """A network that another runtime computes.

    Arguments:
        run: (example) -> its outputs.
    """

    def __init__(self, run: Callable[[Any], list[Tensor]]) -> None:
        super().__init__()
        self.run = run

    def forward(self, example: Any) -> Tensor:
        """The first output, where the example is."""
        return self.run(example)[0].to(example.device)
