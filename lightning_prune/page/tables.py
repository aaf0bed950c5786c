"""Tables: numbers of the page as a reader takes them in, and in full beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_prune.page.album import Album

if TYPE_CHECKING:
    from pandas import DataFrame

ROWS = 2000  # of a table on the page; the file has all
UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """One column.

    Arguments:
        name: Of the frame's column.
        title: On the page.
        form: How a number is written; empty: it is text.
        about: What the number is, where the title does not say it.
    """

    name: str
    title: str
    form: str = ""
    about: str = ""

    @property
    def number(self) -> bool:
        """Numbers stand to the right, and are sorted by size."""
        return bool(self.form)


@dataclass(frozen=True)
class Cell:
    """What is read, and what is sorted by."""

    text: str
    key: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Arguments:
        slug: Its anchor.
        title: What it is of.
        columns: From the left.
        rows: From the top.
        csv: The file with all of it; empty: there is none.
        note: What a reader should know.
    """

    slug: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    csv: str = ""
    note: str = ""


def new_table(
    album: Album, slug: str, title: str, frame: DataFrame, columns: Sequence[Column], note: str = ""
) -> Table:
    """A table of the page, and its file.

    Arguments:
        album: Writes the file.
        slug: Name of the file, without an ending.
        title: What it is of.
        frame: All numbers, in full.
        columns: That the page shows; without those that are empty in the frame.
        note: What a reader should know.
    """
    csv = album.write(slug, frame)
    known = [c for c in columns if c.name in frame.columns and frame[c.name].notna().any()]
    if len(frame) > ROWS:
        note = f"{note} The first {ROWS} of {len(frame)} rows; the file has all.".strip()
    rows = tuple(
        tuple(cell(value, column) for value, column in zip(row, known, strict=True))
        for row in frame[[c.name for c in known]].head(ROWS).itertuples(index=False)
    )
    return Table(slug, title, tuple(known), rows, csv, note)


def cell(value: Any, column: Column) -> Cell:
    """A value, or that there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell(UNKNOWN)
    if not column.number:
        return Cell(str(value), str(value))
    return Cell(format(value, column.form), repr(float(value)))
