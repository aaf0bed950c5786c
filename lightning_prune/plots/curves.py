"""Curves: a metric over what is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_prune.folder import load_report
from lightning_prune.plots.style import CONTROL, DENSE, PRUNED, label_keeps, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_curve(
    report: Mapping[str, Any] | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    metric: str | None = None,
) -> Figure:
    """The metric at the end of every event's cycle over keep, with the dense network and control.

    Arguments:
        report: A run's report, its file or its folder.
        path: Where the figure is saved; None: nowhere.
        metric: Name of the metric, such as `test/accuracy`; None: the task's main one.

    Raises:
        ValueError: The report has no event with that metric.
    """
    report = load_report(report)
    metric = metric or report["extra"].get("main_metric")
    points = [
        (event["keep"], event["metrics"][metric])
        for event in report["events"]
        if (event.get("metrics") or {}).get(metric) is not None
    ]
    if not points:
        known = sorted({name for e in report["events"] for name in e.get("metrics") or {}})
        raise ValueError(
            f"No event of the report has a metric {metric!r}; "
            + (f"there are {', '.join(known)}." if known else "there are no metrics.")
        )
    with new_figure() as (figure, axes):
        keeps, values = zip(*sorted(points), strict=True)
        axes.plot(keeps, values, "o-", color=PRUNED, label=report["method"] or "pruned")
        _draw_references(axes, report, metric)
        _widen(axes)
        label_keeps(axes, [*keeps, 1.0], near=1.16)
        axes.set_xlabel(f"keep (share of the dense network's {report['measure'] or 'params'})")
        axes.set_ylabel(metric)
        axes.set_title(f"{metric} over keep")
        axes.legend()
        return save(figure, path)


def _draw_references(axes: Axes, report: Mapping[str, Any], metric: str | None) -> None:
    dense = ((report["dense"] or {}).get("metrics") or {}).get(metric)
    if dense is not None:
        axes.plot([1.0], [dense], "s", color=DENSE, label="dense, before the first event")
    control = ((report["control"] or {}).get("metrics") or {}).get(metric)
    cycles = [
        (event["keep"], event["control"][metric])
        for event in report["events"]
        if (event.get("control") or {}).get(metric) is not None
    ]
    if len(cycles) > 1:  # at every event as many epochs as the pruned network
        keeps, values = zip(*sorted(cycles), strict=True)
        axes.plot(keeps, values, "--", color=CONTROL, label="dense control, equal training")
    elif control is not None:
        axes.axhline(control, ls="--", color=CONTROL, label="dense control, equal training")


def _widen(axes: Axes) -> None:
    """Show at least a twentieth of the values' size: less would make noise look like a trend."""
    low, high = axes.get_ylim()
    missing = max(abs(low), abs(high)) / 20 - (high - low)
    if missing > 0:
        axes.set_ylim(low - missing / 2, high + missing / 2)
