"""The allocation: how much every layer keeps, a row a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_prune.page.album import new_axes
from lightning_prune.page.curves import Curve
from lightning_prune.page.palette import legible

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

ROWS = 40  # of a map; more curves are averaged by method
LETTERS = 26  # of a layer's name
CELLS = 260  # more numbers than this are not read
NARROW = 16  # columns of which each has room for a number


@dataclass(frozen=True)
class Allocation:
    """Shares that layers keep.

    Arguments:
        shares: A row a curve or method, a column a layer; NaN where it has no such layer.
        keep: The budget; None: every row has its own, which its name says.
        averaged: Rows are methods, since there are too many curves.
    """

    shares: DataFrame
    keep: float | None
    averaged: bool


def find_allocation(curves: Sequence[Curve]) -> Allocation | None:
    """Means over seeds at the smallest budget that all curves have.

    Returns:
        None where nothing is known of layers.
    """
    import pandas as pd

    keep = common_budget(curves)
    rows: dict[str, list[dict[str, float]]] = {}
    averaged = len(curves) > ROWS
    for curve in curves:
        name = curve.method if averaged else curve.label
        for record in curve.records:
            points = [p for p in record.points if keep is None or p.keep_target == keep]
            if points and record.layers:
                own = min(points, key=lambda point: (point.keep_target, -point.number))
                told = name if keep is not None else f"{name} ({own.keep_target:.2g})"
                shares = dict(zip(record.layers, own.layers, strict=True))
                rows.setdefault(told, []).append(shares)
    if not rows:
        return None
    means = {name: pd.DataFrame(part).mean() for name, part in rows.items()}
    layers = dict.fromkeys(layer for part in rows.values() for shares in part for layer in shares)
    table = pd.DataFrame(means).T.reindex(columns=list(layers))
    return Allocation(table, keep, averaged)


def common_budget(curves: Sequence[Curve]) -> float | None:
    """The smallest share that some run of every curve was asked for; None: there is none."""
    budgets = [
        {point.keep_target for record in curve.records for point in record.points}
        for curve in curves
        if any(record.layers for record in curve.records)
    ]
    return min(set.intersection(*budgets), default=None) if budgets else None


def plot_allocation(found: Allocation) -> Figure:
    """The map: dark layers keep little."""
    table = found.shares
    names = short_names([str(name) for name in table.columns])
    rows = [legible(str(name), 36) for name in table.index]
    few = len(names) <= NARROW
    column = 0.48 if few else 0.19
    width = 1.9 + 0.075 * max(map(len, rows)) + column * len(names)
    height = 1.0 + 0.27 * len(rows) + 0.07 * max(map(len, names))
    with new_axes(max(width, 4.5), max(height, 2.2)) as (figure, axes):
        axes.grid(visible=False)
        axes.set_facecolor("0.92")
        image = axes.imshow(table.to_numpy(), aspect="auto", vmin=0, vmax=1, cmap="viridis")
        axes.set_yticks(range(len(rows)), rows, fontsize=9)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8 if few else 7)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        if few and table.size <= CELLS:
            for row, line in enumerate(table.to_numpy()):
                for place, share in enumerate(line):
                    if share == share:
                        axes.text(
                            place, row, f"{share:.2f}", ha="center", va="center", fontsize=7,
                            color="black" if share > 0.6 else "white",
                        )  # fmt: skip
        bar = figure.colorbar(image, ax=axes, label="kept share of units", pad=0.01)
        bar.ax.tick_params(labelsize=8)
        return figure


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what all of them begin with; of long ones the middle goes."""
    parts = [name.split(".") for name in names]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({part[0] for part in parts}) == 1:
        if any(part[1].isdecimal() for part in parts):  # a number alone names nothing
            break
        parts = [part[1:] for part in parts]
    return [_cut(".".join(part)) for part in parts]


def _cut(name: str) -> str:
    if len(name) <= LETTERS:
        return name
    half = (LETTERS - 1) // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
