"""The trade: the main metric over parameters, multiply-adds and latency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_prune.page.album import Album, Drawing
from lightning_prune.page.groups import Group
from lightning_prune.page.lines import plot_lines
from lightning_prune.page.palette import LIMIT, NAMED, Palette, new_palette
from lightning_prune.page.panels import FEW, plot_panels

if TYPE_CHECKING:
    from pandas import DataFrame

AXES = {
    "keep": ("what is kept", "keep: share of the dense network's {measure}"),
    "keep_macs": ("multiply-adds", "share of the dense network's multiply-adds"),
    "latency": ("latency", "latency as a share of the dense network's, as measured in the runs"),
}


def trade_drawings(
    group: Group, rows: DataFrame, album: Album, slug: str | None = None
) -> Iterator[Drawing]:
    """Figures of a group's metric, over every axis that its runs have numbers on.

    Arguments:
        group: Of comparable runs.
        rows: Of `lightning_prune.page.curves.frame`.
        album: Writes the files.
        slug: What names of files begin with, where the curves are of several groups, which have no
            dense networks in common; None: they are of one.
    """
    start = slug or group.slug
    palette = new_palette(group.curves)
    for x, (title, label) in AXES.items():
        if not (rows[x].notna() & rows["metric"].notna()).any():
            continue
        labels = (label.format(measure=group.measure), metric_label(group))
        figure, numbers = plot_lines(rows, group.curves, palette, x, labels, slug is None)
        name = f"{group.metric} over {title}"
        caption = " ".join(_caption(rows, palette, len(group.curves), x))
        yield album.draw(f"{start}-{x.replace('_', '-')}", name, caption, figure, numbers)
        if slug is None and x == "keep" and FEW < len(group.curves) <= NAMED:
            figure, numbers = plot_panels(rows, group.curves, palette, labels)
            caption = (
                "Every method by itself, with its 95 % band; grey: the means of the others; "
                "dashed: the dense control, where all have the same. What is far from all others "
                "leaves these axes, and is in the figure before."
            )
            yield album.draw(f"{start}-panels", f"{name}, one by one", caption, figure, numbers)


def metric_label(group: Group) -> str:
    """The metric, and which way is better."""
    better = "larger" if group.direction == "max" else "smaller"
    return f"{group.metric} ({better} is better)"


def _caption(rows: DataFrame, palette: Palette, curves: int, x: str) -> Iterator[str]:
    known = rows[rows["metric"].notna() & rows[x].notna()]
    runs = known.groupby(["curve", "keep_target"]).size()
    if runs.max() > 1:
        shape = "interval" if x == "latency" else "band"
        many = f"{runs.min()} to {runs.max()}" if runs.min() != runs.max() else f"{runs.max()}"
        yield f"Mean over seeds ({many} runs a point) with its 95 % {shape} by Student's t"
        yield "(cut where it would press the rest together)."
    else:
        yield "One run a point, so without a band of confidence."
    if x == "latency":
        yield "Runs' last events, whose networks were measured; zeros alone make none faster."
    if curves > LIMIT:
        yield (
            f"{LIMIT} of {curves} curves are drawn one by one; where the means of the other "
            f"{curves - LIMIT} lie is shaded by method, from smallest to largest and darker from "
            "the first to the third quartile."
        )
    if palette.by == "method":
        yield "Colours and dashes stand for methods."
    if lost := sorted(set(rows["curve"]) - set(known["curve"])):
        shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        yield f"Without a number here: {shown}."
