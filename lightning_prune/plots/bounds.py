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
    """The relative errors of every layer at one event: bounds, and what was measured.

    Of sums, an error of 1 is that of a row that is left out: bounds to the right of it say
    nothing. Of factored layers they are spectral errors of the weight, 1 if nothing is kept.

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
        if any(layer.get("slices") for layer in layers):
            _mark_factors(axes, layers)
        else:
            _mark_sums(axes, layers, chosen.get("held_out"))
        axes.axvline(1, color="0.4", lw=1, ls=":")
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_title(f"{report['method'] or 'pruned'}, keep {chosen['keep']:.2g}")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        return save(figure, path)


def _mark_sums(axes: Axes, layers: Sequence[Mapping[str, Any]], held_out: int | None) -> None:
    measured = f"on {held_out} held-out samples" if held_out else "on the samples seen"
    _mark(axes, layers, "error_mean", "|", DENSE, f"error {measured}, mean over rows")
    _mark(axes, layers, "error", "o", PRUNED, f"error {measured}, largest row")
    _mark(axes, layers, "bound_seen", ">", "0.5", "bound for the samples seen")
    _mark(axes, layers, "bound", "D", CONTROL, "bound for others")
    axes.set_xscale("log")
    axes.set_xlabel("relative error of a layer's sums; at 1 the bound says nothing")


def _mark_factors(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    _mark(axes, layers, "bound", "D", CONTROL, "bound")
    _mark(axes, layers, "error", "o", PRUNED, "error of the weight that was written")
    for place, layer in enumerate(layers):
        told = f" rank {layer['kept']}" + (f" x {layer['slices']}" if layer["slices"] > 1 else "")
        axes.annotate(told, (1, place), fontsize=7, color="0.3", va="center")
    axes.set_xlim(0, 1.18)
    axes.set_xlabel("relative spectral error of a factored weight; right: rank x slices")


def _mark(
    axes: Axes, layers: Sequence[Mapping[str, Any]], name: str, marker: str, colour: str, label: str
) -> None:
    points = [(_shown(layer[name]), place) for place, layer in enumerate(layers) if layer.get(name)]
    if points:
        values, places = zip(*points, strict=True)
        axes.plot(values, places, marker, color=colour, label=label, ms=6, zorder=2)


def _shown(value: float) -> float:
    return max(value, 1e-8)  # a logarithm has no place for 0
