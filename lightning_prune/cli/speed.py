"""Speed: the rows of a bench, as a table, as a file, and what is to be said of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from lightning_prune.cli.subjects import Subject
from lightning_prune.evaluation.meter import measure_speed
from lightning_prune.evaluation.reasons import speed_notes
from lightning_prune.evaluation.size import count_size

UNITS = ("B", "kB", "MB", "GB")
WIDE = 130  # characters in a line of a file
Row = dict[str, Any]


def measured(
    subject: Subject, *, batches: Sequence[int], repeats: int, threads: int, device: str
) -> tuple[list[Row], list[str]]:
    """Rows of numbers and strings, and notes.

    A row has `subject`, all of `Speed`, of `Size` but its latency, and `times_as_fast` as the
    dense network.

    Raises:
        ValueError: There is no such device here.
    """
    place = usable_device(device)
    models = {name: model.eval().to(place) for name, model in subject.models.items()}
    sizes = {name: count_size(model, subject.example) for name, model in models.items()}
    speeds = measure_speed(
        models, subject.example, batches=batches, repeats=repeats, threads=threads, device=place
    )
    dense = {speed.batch: speed.median_ms for speed in speeds if speed.name == "dense"}
    rows = [
        {
            "subject": subject.title,
            **{key: value for key, value in sizes[speed.name].items() if key != "latency_ms"},
            **speed.to_dict(),
            "times_as_fast": dense[speed.batch] / speed.median_ms,
        }
        for speed in speeds
    ]
    return rows, [*subject.notes, *speed_notes(speeds, models=models, example=subject.example)]


def show(title: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
    """The table, and the notes below it."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(speed_table(title, rows))
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)


def speed_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a model and batch size; what does not depend on the batch stands once."""
    where = f"{rows[0]['device']}, threads {rows[0]['threads']}"
    table = Table(
        title=f"{title} ({where})",
        caption="ms: median of one forward, and quartiles; memory: of one forward, beside weights",
        pad_edge=False,
    )
    table.add_column("network")
    for heading in (
        "params",
        "nonzero",
        "macs",
        "bytes",
        "batch",
        "ms",
        "quartiles",
        "memory",
        "x",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    names = list(dict.fromkeys(row["name"] for row in rows))
    for name in names:
        own = [row for row in rows if row["name"] == name]
        for place, row in enumerate(own):
            counts = [_count(row[key]) for key in ("params", "nonzero", "macs")]
            about = [name, *counts, _bytes(row["bytes"])] if place == 0 else [""] * 5
            spread = f"{row['low_ms']:.3g}-{row['high_ms']:.3g}"
            times = [str(row["batch"]), f"{row['median_ms']:.3g}", spread]
            memory = _bytes(row["memory_bytes"])
            table.add_row(
                *about, *times, memory, f"{row['times_as_fast']:.2f}",
                end_section=place == len(own) - 1,
            )  # fmt: skip
    return table


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All rows as csv."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def usable_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: There is none here.
    """
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        why = " ".join(str(error).split()).split(". ")[0]
        raise ValueError(f"The device {name!r} cannot be used here: {why}.") from None
    return place


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _bytes(value: float | None) -> str:
    if value is None:
        return ""
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            return f"{value:.3g} {unit}"
        value /= 1000
    return ""
