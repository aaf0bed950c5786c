"""Potential: how much can be pruned on every distribution, methods side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_prune.plots.series import Series, series
from lightning_prune.plots.style import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

NOMINAL = "nominal"
ROOM = 0.8  # of the step from one distribution to the next that its dots take
TALLEST = 1.2  # inches of that step
Place = tuple[str, object]  # a distribution and its severity


def plot_potentials(
    table: DataFrame,
    path: str | os.PathLike[str] | None = None,
    by: str | Sequence[str] | None = None,
) -> Figure:
    """The prune potential on every distribution: the mean over seeds and their deviation.

    Nominal data come first, then what training has seen, then what it has not. An open dot says
    that some seed's largest prune ratio still qualifies, so that the mean is a lower bound.

    Arguments:
        table: Of `lightning_prune.evaluation.potentials`.
        path: Where the figure is saved; None: nowhere.
        by: Columns that tell methods apart; None: all before `seed`.

    Raises:
        ValueError: A column is missing, or there is no row.
    """
    curves = series(table, [by] if isinstance(by, str) else by)
    sides = _sides(table)
    places = [place for side in sides.values() for place in side]
    step = min(max(0.26, 0.085 * len(curves) + 0.1), TALLEST)
    with new_figure(8.0, 1.6 + step * len(places)) as (figure, axes):
        for number, curve in enumerate(curves):
            shift = ROOM * ((number + 0.5) / len(curves) - 0.5)
            _draw(axes, curve, places, shift)
        _separate(axes, sides)
        several = table["severity"].nunique() > 2  # nominal data have one of their own
        axes.set_yticks(range(len(places)), [_label(*place, several) for place in places])
        axes.set_ylim(len(places) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("prune potential: largest prune ratio within the margin")
        figure.suptitle(_title(table), fontsize=9)
        figure.legend(loc="outside right upper", fontsize=8)
        return save(figure, path)


def _sides(table: DataFrame) -> dict[str, list[Place]]:
    """Distributions by the heading that they stand under."""
    found: dict[str, list[Place]] = {NOMINAL: [], "train side": [], "test side": []}
    columns = ["distribution", "severity", "side"]
    for name, severity, side in table[columns].drop_duplicates().itertuples(index=False):
        found[NOMINAL if name == NOMINAL else f"{side} side"].append((name, severity))
    return {name: places for name, places in found.items() if places}


def _draw(axes: Axes, curve: Series, places: Sequence[Place], shift: float) -> None:
    groups = curve.rows.groupby(["distribution", "severity"], dropna=False, sort=False)
    found = groups.agg(
        mean=("potential", "mean"), std=("potential", "std"), censored=("censored", "any")
    )
    heights = [places.index(place) + shift for place in found.index]
    axes.hlines(
        heights,
        (found["mean"] - found["std"].fillna(0)).clip(0, 1),
        (found["mean"] + found["std"].fillna(0)).clip(0, 1),
        color=curve.colour,
        lw=1.2,
    )
    open_ones = found["censored"].tolist()
    for is_open in (False, True):
        chosen = [place for place, value in enumerate(open_ones) if value == is_open]
        axes.plot(
            found["mean"].iloc[chosen],
            [heights[place] for place in chosen],
            curve.marker,
            color=curve.colour,
            mfc="white" if is_open else curve.colour,
            ms=4.5,
        )
    axes.plot([], [], curve.marker, color=curve.colour, ms=4.5, label=curve.name)


def _separate(axes: Axes, sides: dict[str, list[Place]]) -> None:
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(axes.transAxes, axes.transData)
    start = 0
    for heading, own in sides.items():
        if start:
            axes.axhline(start - 0.5, color="0.3", lw=0.8)
        middle = start + len(own) / 2 - 0.5
        turn = 0 if len(own) < 3 else 270
        axes.text(
            1.01, middle, heading, transform=place, rotation=turn, va="center", fontsize=8,
            color="0.3",
        )  # fmt: skip
        start += len(own)
    for height in range(start):
        axes.axhspan(height - 0.5, height + 0.5, color="0.5", alpha=0.06 * (height % 2), lw=0)


def _label(name: str, severity: object, several: bool) -> str:
    plain = name.replace("_", " ")
    return f"{plain}, {severity}" if several and name != NOMINAL else plain


def _title(table: DataFrame) -> str:
    seeds = table["seed"].nunique()
    told = "one seed" if seeds < 2 else f"mean and standard deviation of {seeds} seeds"
    bound = "; open: the grid ends before the potential does" if table["censored"].any() else ""
    return told + bound
