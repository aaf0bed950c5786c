"""Lines: a metric over what is kept, with a band of confidence over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_prune.page.album import new_axes
from lightning_prune.page.curves import Curve, spread
from lightning_prune.page.palette import Palette, legible
from lightning_prune.page.references import draw_references

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

WIDTH, HEIGHT = 9.0, 4.7
TICKS = 11  # labels that a logarithmic axis has room for
LATENCY = (0.75, 1.25)  # shares that are always seen
CROWD = 80  # curves that are drawn thin
FAINT = 0.6  # of all bands together
BEYOND = 0.35  # of the means' range: how far a band can stretch the axis
BROAD = (0.25, 0.75)


def line_table(rows: DataFrame, x: str = "keep") -> DataFrame:
    """What lines are drawn of: for every curve and budget `x` (mean) and the metric's spread."""
    by = ["curve", "method", "keep_target"]
    rows = rows[rows[x].notna()]
    table = spread(rows, "metric", by)
    places = rows[rows["metric"].notna()].groupby(by, sort=True)[x].mean()
    return table.merge(places.rename("x").reset_index(), on=by)


def plot_lines(
    rows: DataFrame,
    curves: Sequence[Curve],
    palette: Palette,
    x: str = "keep",
    labels: tuple = ("", ""),
    references: bool = True,
) -> tuple[Figure, DataFrame]:
    """The figure and what it shows.

    Arguments:
        rows: Of `lightning_prune.page.curves.frame`.
        curves: That the rows are of.
        palette: Of them.
        x: The column along the horizontal axis.
        labels: Of the axes.
        references: Draw dense networks and controls, which runs have to have in common.
    """
    table = line_table(rows, x)
    alone = table[table["curve"].isin(palette.drawn)]
    with new_axes(WIDTH, HEIGHT) as (figure, axes):
        for curve in curves:
            line = alone[alone["curve"] == curve.label].sort_values("x")
            if not line.empty and x == "latency":
                _draw_marks(axes, line, curve, palette)
            elif not line.empty:
                _draw_line(axes, line, curve, palette)
        for name, part in table[~table["curve"].isin(palette.drawn)].groupby("method"):
            _draw_rest(axes, part, palette.looks[name].colour)
        keeps = table.groupby("keep_target")["x"].mean().reset_index()
        budgets = keeps if x == "keep" else None
        heights = draw_references(axes, rows, budgets) if references else []
        limit(axes, table, heights)
        if x == "latency":  # a difference of a few percent is noise, and is to look like it
            axes.set_xlim(
                min(LATENCY[0], 0.95 * table["x"].min()), max(LATENCY[1], 1.05 * table["x"].max())
            )
        else:
            label_shares(axes, table["x"])
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        _legend(figure, axes)
        return figure, table


def label_shares(axes: Axes, shares: Series, most: int = TICKS) -> None:
    """A logarithmic axis, with labels at the shares where they are few, else at round numbers.

    Arguments:
        axes: Whose horizontal axis it is.
        shares: Of the points.
        most: Labels that there is room for.
    """
    from lightning_prune.plots.style import NEAR, label_keeps

    known = [float(share) for share in shares.dropna().unique() if share > 0]
    if not known:
        return
    low, high = min(known), max(known)
    if len({round(share, 2) for share in known}) > most:
        marks = [digit * 10.0**power for power in range(-9, 1) for digit in (1, 2, 5)]
        known = [mark for mark in marks if low <= mark <= high] or known
    label_keeps(axes, known, max(NEAR, (high / low) ** (1 / most)))
    if low == high:
        axes.set_xlim(low / 1.5, low * 1.5)


def _draw_line(axes: Axes, line: DataFrame, curve: Curve, palette: Palette) -> None:
    look, few = palette[curve], palette.by == "curve"
    thin = len(palette.drawn) > CROWD
    axes.plot(
        line["x"], line["mean"], color=look.colour, ls=look.dashes,
        marker=look.mark if few else None, ms=4, lw=0.8 if thin else 1.5,
        alpha=0.6 if thin else 0.9, label=legible(curve.label if few else curve.method),
    )  # fmt: skip
    if len(line) > 1:
        axes.fill_between(
            line["x"], line["low"], line["high"], color=look.colour, lw=0,
            alpha=max(FAINT / len(palette.drawn), 0.005),
        )  # fmt: skip
    else:
        axes.vlines(line["x"], line["low"], line["high"], color=look.colour, lw=1.2)
        axes.plot(line["x"], line["mean"], color=look.colour, marker="o", ms=3)


def _draw_marks(axes: Axes, line: DataFrame, curve: Curve, palette: Palette) -> None:
    """Of measurements, whose order along the axis is partly chance."""
    look, few = palette[curve], palette.by == "curve"
    axes.plot(
        line["x"], line["mean"], color=look.colour, ls="", marker=look.mark if few else ".", ms=5,
        alpha=0.85, label=legible(curve.label if few else curve.method),
        fillstyle="full" if look.dashes == "-" else "none",
    )  # fmt: skip
    axes.vlines(line["x"], line["low"], line["high"], color=look.colour, lw=0.6, alpha=0.4)


def _draw_rest(axes: Axes, part: DataFrame, colour: str) -> None:
    """Where the means of a method's other curves lie."""
    curves = part.groupby("keep_target").agg(
        x=("x", "mean"),
        low=("mean", "min"),
        first=("mean", lambda means: means.quantile(BROAD[0])),
        third=("mean", lambda means: means.quantile(BROAD[1])),
        high=("mean", "max"),
    )
    curves = curves.sort_values("x")
    axes.fill_between(curves["x"], curves["low"], curves["high"], color=colour, alpha=0.1, lw=0)
    axes.fill_between(curves["x"], curves["first"], curves["third"], color=colour, alpha=0.25, lw=0)


def limit(axes: Axes, table: DataFrame, heights: Sequence[float]) -> None:
    """A broad band of few seeds is cut, rather than the lines pressed together.

    Arguments:
        axes: Of a metric.
        table: Of `line_table`.
        heights: What else has to be seen.
    """
    low, high = min([table["mean"].min(), *heights]), max([table["mean"].max(), *heights])
    room, pad = BEYOND * (high - low), 0.04 * (high - low)
    if room > 0:
        # min and max keep the first number where the second is NaN: of one seed there is no band
        lowest, highest = min(low, table["low"].min()), max(high, table["high"].max())
        axes.set_ylim(max(low - room, lowest) - pad, min(high + room, highest) + pad)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    first = dict(reversed(list(zip(names, handles, strict=True))))
    ordered = dict.fromkeys(names)
    figure.legend(
        [first[name] for name in ordered], list(ordered), loc="outside right upper", fontsize=8
    )
