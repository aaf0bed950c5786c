"""Curves of flows: negative log-likelihood over keep, and what the solver pays for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_prune.folder import load_report
from lightning_prune.plots.style import (
    CONTROL,
    DENSE,
    PRUNED,
    label_keeps,
    new_figures,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = "#009E73"  # of Okabe and Ito's palette


def plot_flow_curves(
    report: Mapping[str, Any] | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    metric: str = "test/nll",
    evaluations: str = "test/evaluations",
) -> Figure:
    """Test NLL at the end of every event's cycle over keep; beneath, evaluations of the field.

    The floor is the entropy of the data, `report["extra"]["floor"]` in nats: a value below it is
    an error of the solver. Whatever the report does not know is left out.

    Arguments:
        report: A run's report, its file or its folder.
        path: Where the figure is saved; None: nowhere.
        metric: Name of the NLL, in nats.
        evaluations: Name of the number of evaluations of the field in one solve.

    Raises:
        ValueError: The report has no event with the metric.
    """
    report = load_report(report)
    keeps = [e["keep"] for e in report["events"] if _value(e, metric) is not None]
    if not keeps:
        known = sorted({name for e in report["events"] for name in e.get("metrics") or {}})
        there = f"there are {', '.join(known)}" if known else "there are no metrics"
        raise ValueError(f"No event of the report has a metric {metric!r}; {there}.")
    paid = any(_value(event, evaluations) is not None for event in report["events"])
    rows, height = (2, 5.6) if paid else (1, 4.0)
    ratios = {"height_ratios": [5, 3][:rows]}
    with new_figures(rows, 1, 6.4, height, sharex=True, gridspec_kw=ratios) as (figure, axes):
        _draw(axes[0], report, metric)
        floor = (report.get("extra") or {}).get("floor")
        if floor is not None:
            axes[0].axhline(floor, ls=":", color=FLOOR, lw=1.6, label="entropy of the data")
        axes[0].set_ylabel(f"{metric} (nats)")
        axes[0].set_title(f"{metric} over keep")
        if paid:
            _draw(axes[1], report, evaluations)
            axes[1].set_ylim(bottom=0)
            axes[1].set_ylabel("evaluations\nof the field")
        label_keeps(axes[-1], [*keeps, 1.0])
        measure = report.get("measure") or "params"
        axes[-1].set_xlabel(f"keep (share of the dense network's {measure})")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
        return save(figure, path)


def _draw(axes: Axes, report: Mapping[str, Any], metric: str) -> None:
    points = sorted(
        (event["keep"], value)
        for event in report["events"]
        if (value := _value(event, metric)) is not None
    )
    axes.plot(*zip(*points, strict=True), "o-", color=PRUNED, label=report["method"] or "pruned")
    dense = _value(report.get("dense"), metric)
    if dense is not None:
        axes.plot([1.0], [dense], "s", color=DENSE, label="dense, before the first event")
    control = _value(report.get("control"), metric)
    cycles = sorted(
        (event["keep"], event["control"][metric])
        for event in report["events"]
        if (event.get("control") or {}).get(metric) is not None
    )
    if len(cycles) > 1:  # at every event as many epochs as the pruned network
        axes.plot(
            *zip(*cycles, strict=True), "--", color=CONTROL, label="dense control, equal training"
        )
    elif control is not None:
        axes.axhline(control, ls="--", color=CONTROL, label="dense control, equal training")


def _value(part: Mapping[str, Any] | None, metric: str) -> float | None:
    return ((part or {}).get("metrics") or {}).get(metric)
