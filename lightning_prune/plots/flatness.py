"""Flatness: how much flatter or sharper pruned networks' losses are than the dense one's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_prune.plots.style import CONTROL, DENSE, PRUNED, label_keeps, new_figures, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = {
    "largest": "largest eigenvalue",
    "trace": "trace",
    "condition": "condition (smallest positive)",
    "condition_median": "condition (median)",
}
NEAR = 1.45  # ratio of two keeps whose labels would touch
Numbers = Mapping[str, Any]


def plot_flatness(
    values: Mapping[float, Numbers],
    path: str | os.PathLike[str] | None = None,
    dense: Numbers | None = None,
    control: Numbers | None = None,
) -> Figure:
    """Numbers of the loss's Hessian over keep, as multiples of the dense network's.

    One panel a number that both the dense network and a pruned one know. The axis is logarithmic:
    a trace below 0 has no place there and is left out.

    Arguments:
        values: Keep to the numbers of `Flatness.to_dict`.
        path: Where the figure is saved; None: nowhere.
        dense: Numbers of the dense network; None: those at keep 1 of `values`.
        control: Numbers of the dense control, which trained as long as the pruned networks.

    Raises:
        ValueError: There are no numbers of the dense network, or none to compare with them.
    """
    pruned = {keep: numbers for keep, numbers in sorted(values.items()) if keep < 1}
    dense = dense or next((numbers for keep, numbers in values.items() if keep >= 1), None)
    if dense is None:
        raise ValueError("Without numbers of the dense network there is nothing to divide by.")
    curves = {name: _curve(pruned, dense, name) for name in SHOWN}
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        raise ValueError(f"No network has one of the numbers {', '.join(SHOWN)}.")
    rows, columns = (2, 2) if len(curves) > 2 else (1, len(curves))
    size = (3.6 * columns, 2.7 * rows + 0.5)
    with new_figures(rows, columns, *size, sharex=True) as (figure, axes):
        for empty in axes[len(curves) :]:
            empty.set_visible(False)
        for here, (name, curve) in zip(axes, curves.items(), strict=False):
            _draw(here, curve, _ratio(control, dense, name), SHOWN[name])
            label_keeps(here, [*pruned, 1.0], NEAR)
        for here in axes[max(len(curves) - columns, 0) : len(curves)]:
            here.tick_params(labelbottom=True)
        figure.supxlabel("keep", fontsize=10)
        figure.supylabel("relative to the dense network", fontsize=10)
        marks = axes[0].get_legend_handles_labels()
        figure.legend(*marks, loc="outside upper center", ncols=3, fontsize=9)
        return save(figure, path)


def _curve(pruned: Mapping[float, Numbers], dense: Numbers, name: str) -> dict[float, float]:
    ratios = {keep: _ratio(numbers, dense, name) for keep, numbers in pruned.items()}
    return {keep: ratio for keep, ratio in ratios.items() if ratio is not None}


def _ratio(numbers: Numbers | None, dense: Numbers, name: str) -> float | None:
    value, unit = (numbers or {}).get(name), dense.get(name)
    # a logarithm has no place for what is not positive
    return value / unit if value and unit and value / unit > 0 else None


def _draw(axes: Axes, curve: Mapping[float, float], control: float | None, title: str) -> None:
    axes.plot(list(curve), list(curve.values()), "o-", color=PRUNED, label="pruned")
    axes.plot([1.0], [1.0], "s", color=DENSE, label="dense")
    if control is not None:
        axes.axhline(control, ls="--", color=CONTROL, label="dense control, equal training")
    axes.set_yscale("log")
    _label_ratios(axes)
    axes.set_title(title, fontsize=10)


def _label_ratios(axes: Axes) -> None:
    """Plain numbers, also where powers of ten alone would label next to nothing."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_ylim()
    if high / low < 5:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 500 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
