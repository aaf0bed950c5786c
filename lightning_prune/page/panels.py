"""Panels: every curve by itself, before all others in grey, where one axis is too full to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_prune.page.curves import Curve
from lightning_prune.page.lines import label_shares, limit, line_table
from lightning_prune.page.palette import Palette, legible
from lightning_prune.page.references import controls

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

FEW = 3  # curves whose bands can be told apart on one axis
COLUMNS = 4
FAR = 3.0  # times the range of the middle half: what is farther off leaves a panel
TICKS = 4  # labels that a narrow axis has room for
WIDE, HIGH = 2.25, 1.75
LETTERS = 32


def plot_panels(
    rows: DataFrame, curves: Sequence[Curve], palette: Palette, labels: tuple[str, str]
) -> tuple[Figure, DataFrame]:
    """The figure and what it shows.

    Arguments:
        rows: Of `lightning_prune.page.curves.frame`.
        curves: That the rows are of.
        palette: Of them.
        labels: Of the axes.
    """
    from lightning_prune.plots.style import new_figures

    table = line_table(rows)
    shown = [curve for curve in curves if (table["curve"] == curve.label).any()]
    height = -(-len(shown) // COLUMNS)
    size = {"width": WIDE * COLUMNS, "height": HIGH * height + 0.5}
    beside = controls(rows)
    with new_figures(height, COLUMNS, sharex=True, sharey=True, **size) as (figure, places):
        for axes, curve in zip(places, shown, strict=False):
            for _, line in table[table["curve"] != curve.label].groupby("curve"):
                line = line.sort_values("x")
                axes.plot(line["x"], line["mean"], color="0.82", lw=0.8, zorder=1)
            _draw(
                axes, table[table["curve"] == curve.label].sort_values("x"), palette[curve].colour
            )
            _draw_control(axes, beside)
            axes.set_title(legible(curve.label, LETTERS), fontsize=9)
            axes.tick_params(labelsize=8)
        for axes in places[len(shown) :]:
            axes.set_visible(False)
        heights = [float(mean) for each in beside for mean in each["mean"]]
        limit(places[0], near(table), heights)
        _label(places, len(shown), table["x"])
        figure.supxlabel(labels[0], fontsize=10)
        figure.supylabel(labels[1], fontsize=10)
        return figure, table


def _draw(axes: Axes, line: DataFrame, colour: str) -> None:
    axes.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
    axes.plot(line["x"], line["mean"], color=colour, marker="o", ms=3, lw=1.6, zorder=3)


def _draw_control(axes: Axes, tables: list[DataFrame]) -> None:
    """Where all curves have one control; more are in the figure with one axis."""
    from lightning_prune.plots.style import CONTROL

    if len(tables) == 1 and len(tables[0]) == 1:
        axes.axhline(tables[0]["mean"].iloc[0], color=CONTROL, ls="--", lw=1, zorder=2)


def near(table: DataFrame) -> DataFrame:
    """Rows without those that are so far from the others that these could not be told apart.

    Arguments:
        table: Of `line_table`.
    """
    means = table["mean"]
    first, third = means.quantile(0.25), means.quantile(0.75)
    room = FAR * (third - first)
    within = table[means.between(first - room, third + room)]
    return within if room > 0 else table


def _label(places: Sequence[Axes], shown: int, shares: Series) -> None:
    for axes in places:
        label_shares(axes, shares, TICKS)
    # the last of every column has the labels, also where the row below is not full
    for axes in places[max(shown - COLUMNS, 0) : shown]:
        axes.tick_params(labelbottom=True)
