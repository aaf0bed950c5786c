"""Series: what tells the curves of a table apart, and how each of them looks in every plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lightning_prune.plots.sweeps import COLOURS, MARKERS

if TYPE_CHECKING:
    from pandas import DataFrame


class Series(NamedTuple):
    """One curve of a table."""

    name: str
    rows: DataFrame
    colour: str
    marker: str


def series(table: DataFrame, by: Sequence[str] | None = None, stop: str = "seed") -> list[Series]:
    """The curves of a table in the order of their names.

    Arguments:
        table: With the columns that tell curves apart first.
        by: These columns; None: all before `stop`.
        stop: The first column of another kind.

    Raises:
        ValueError: A column is missing, or there is no row.
    """
    missing = [name for name in (stop, *(by or ())) if name not in table.columns]
    if missing:
        raise ValueError(f"The table has no column {missing[0]!r}; it has {[*table.columns]}.")
    if table.empty:
        raise ValueError("The table has no row to plot.")
    names = list(by or table.columns[: table.columns.get_loc(stop)])
    labels = table[names].astype(str).agg(", ".join, axis=1)
    return [
        Series(
            label,
            table[labels == label],
            COLOURS[number % len(COLOURS)],
            MARKERS[number % len(MARKERS)],
        )
        for number, label in enumerate(sorted(labels.unique()))
    ]
