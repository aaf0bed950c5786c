"""Bounds: what a theory says of every layer's error, beside the error that was measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_prune.folder import load_report
from lightning_prune.plots.style import CONTROL, DENSE, PRUNED, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_bounds(
    report: Mapping[str, Any] | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    event: int = -1,
) -> Figure:
    """The relative errors of every layer's sums at one event: bounds, and what was measured.

    An error of 1 is that of a row that is left out: bounds to the right of it say nothing.

    Arguments:
        report: A run's report, its file or its folder.
        path: Where the figure is saved; None: nowhere.
        event: Which event, counted as in a list; by default the last.

    Raises:
        ValueError: The event has no bounds: its method has no theory, or it removed nothing.
        IndexError: There is no such event.
    """
    report = load_report(report)
    chosen = report["events"][event]
    layers = [layer for layer in chosen["layers"] if layer.get("bound") is not None]
    if not layers:
        raise ValueError("The event has no bounds: its method has no theory, or nothing left.")
    names = [layer["name"] for layer in layers]
    height = max(2.4, 1.6 + 0.26 * len(names))
    with new_figure(6.4 + 0.05 * max(map(len, names)), height) as (figure, axes):
        places = range(len(names))
        axes.hlines(
            places,
            [_shown(layer["error"]) for layer in layers],
            [_shown(layer["bound"]) for layer in layers],
            color="0.8",
            zorder=1,
        )
        where = chosen.get("held_out")
        measured = f"on {where} held-out samples" if where else "on the samples seen"
        _mark(axes, layers, "error_mean", "|", DENSE, f"error {measured}, mean over rows")
        _mark(axes, layers, "error", "o", PRUNED, f"error {measured}, largest row")
        _mark(axes, layers, "bound_seen", ">", "0.5", "bound for the samples seen")
        _mark(axes, layers, "bound", "D", CONTROL, "bound for others")
        axes.axvline(1, color="0.4", lw=1, ls=":")
        axes.set_xscale("log")
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_xlabel("relative error of a layer's sums; at 1 the bound says nothing")
        axes.set_title(f"{report['method'] or 'pruned'}, keep {chosen['keep']:.2g}")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        return save(figure, path)


def _mark(
    axes: Axes, layers: Sequence[Mapping[str, Any]], name: str, marker: str, colour: str, label: str
) -> None:
    points = [(_shown(layer[name]), place) for place, layer in enumerate(layers) if layer.get(name)]
    if points:
        values, places = zip(*points, strict=True)
        axes.plot(values, places, marker, color=colour, label=label, ms=6, zorder=2)


def _shown(value: float) -> float:
    return max(value, 1e-8)  # a logarithm has no place for 0
