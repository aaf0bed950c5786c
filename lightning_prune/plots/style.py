"""Style: how every figure of the package looks, and how it is saved."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# of a palette that colour-blind readers tell apart (Okabe & Ito, 2008)
PRUNED = "#0072B2"
CONTROL = "#D55E00"
DENSE = "#000000"

NEAR = 1.15  # ratio of two keeps whose labels would touch

RC: dict[Any, Any] = {
    "figure.dpi": 120,
    "savefig.dpi": 150,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


@contextmanager
def new_figure(width: float = 6.4, height: float = 4.0) -> Iterator[tuple[Figure, Axes]]:
    """A figure and its axes in our style, without touching pyplot or its backend.

    Arguments:
        width: In inches.
        height: In inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


@contextmanager
def new_figures(
    rows: int, columns: int, width: float = 6.4, height: float = 4.0, **shared: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure and several axes in our style, row by row.

    Arguments:
        rows: Of axes.
        columns: Of axes.
        width: Of the whole figure, in inches.
        height: Of the whole figure, in inches.
        shared: Of `Figure.subplots`, such as `sharex`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, columns, squeeze=False, **shared).flat)


def label_keeps(axes: Axes, keeps: Sequence[float], near: float = NEAR) -> None:
    """A logarithmic axis of keeps, with ticks at the points as far as labels do not touch.

    Arguments:
        axes: Whose horizontal axis it is.
        keeps: Of the points.
        near: Ratio of two keeps whose labels would touch; more in narrow axes.
    """
    shown: list[float] = []
    for keep in sorted(keeps, reverse=True):  # the largest, most often the dense one, stays
        if not shown or shown[-1] / keep > near:
            shown.append(keep)
    shown.reverse()
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{keep:.2g}" for keep in shown])
    axes.set_xticks([], minor=True)


def save(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write the figure to `path`, if there is one; its ending says the format."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=RC["savefig.dpi"])
    return figure
