"""Excess: what pruning costs more off the nominal distribution, over how much is pruned."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lightning_prune.plots.series import Series, series
from lightning_prune.plots.style import new_figures, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

COLUMNS = 3


def plot_excess(
    table: DataFrame, slopes: DataFrame, path: str | os.PathLike[str] | None = None
) -> Figure:
    """The difference in excess error of every network, with a line through the origin.

    One panel a curve. Above 0 the pruned network loses more under shift than on nominal data.

    Arguments:
        table: Of `lightning_prune.evaluation.excess`.
        slopes: Of `lightning_prune.evaluation.excess_slopes` of it.
        path: Where the figure is saved; None: nowhere.

    Raises:
        ValueError: A column is missing, there is no row, or a curve has no slope.
    """
    curves = series(table)
    lines = {line.name: line.rows.iloc[0] for line in series(slopes, stop="slope")}
    lost = [curve.name for curve in curves if curve.name not in lines]
    if lost:
        raise ValueError(f"There is no slope of {lost[0]}; take those of the same table.")
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    size = (2.9 * columns + 0.8, 2.4 * rows + 0.7)
    with new_figures(rows, columns, *size, sharex=True, sharey=True) as (figure, axes):
        for empty in axes[len(curves) :]:
            empty.set_visible(False)
        for here, curve in zip(axes, curves, strict=False):
            _draw(here, curve, lines[curve.name])
        for here in axes[max(len(curves) - columns, 0) : len(curves)]:
            here.tick_params(labelbottom=True)
        _fit(axes[0], table)
        figure.supxlabel("prune ratio (%)", fontsize=10)
        figure.supylabel("difference in excess error (%)", fontsize=10)
        return save(figure, path)


def _draw(axes: Axes, curve: Series, line: Any) -> None:
    ratios, differences = 100 * curve.rows["ratio"], 100 * curve.rows["difference"]
    axes.axhline(0, color="0.3", lw=0.8)
    axes.plot(ratios, differences, curve.marker, color=curve.colour, ms=3.5, alpha=0.7)
    axes.plot([0, 100], [0, 100 * line["slope"]], color=curve.colour, lw=1.5)
    told = f"slope {line['slope']:+.3f}"
    if line["low"] == line["low"]:  # of one network there is no interval
        low, high = 100 * line["low"], 100 * line["high"]
        axes.fill_between([0, 100], [0, low], [0, high], color=curve.colour, alpha=0.15, lw=0)
        told += f" [{line['low']:+.3f}, {line['high']:+.3f}]"
    axes.set_title(f"{curve.name}\n{told}", fontsize=8)


def _fit(axes: Axes, table: DataFrame) -> None:
    """Room for the points: an interval of few seeds may be many times as high."""
    low, high = 100 * table["difference"].min(), 100 * table["difference"].max()
    least = min(low, 0.0), max(high, 0.0)
    margin = max(0.15 * (least[1] - least[0]), 0.1)
    axes.set_ylim(least[0] - margin, least[1] + margin)
    axes.set_xlim(0, 100)
