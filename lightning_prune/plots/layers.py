"""Layers: what every layer keeps, event by event."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_prune.folder import load_report
from lightning_prune.plots.style import new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS = 240  # more numbers than this are not read, but make the map hard to see


def plot_layers(
    report: Mapping[str, Any] | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """A map of the share of every layer's weights that is not zero, a column an event.

    Arguments:
        report: A run's report, its file or its folder.
        path: Where the figure is saved; None: nowhere.

    Raises:
        ValueError: The report has no event with layers.
    """
    report = load_report(report)
    events = [event for event in report["events"] if event.get("layers")]
    if not events:
        raise ValueError("The report has no event with layers; a dense control has none.")
    names = [layer["name"] for layer in events[-1]["layers"]]
    shares = [[_share(event, name) for event in events] for name in names]
    height = max(2.4, 1.2 + 0.24 * len(names))
    with new_figure(2.6 + 0.62 * len(events) + 0.06 * max(map(len, names)), height) as drawing:
        figure, axes = drawing
        axes.grid(visible=False)
        image = axes.imshow(shares, aspect="auto", vmin=0, vmax=1, cmap="viridis")
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(range(len(events)), [f"{event['keep']:.2g}" for event in events])
        axes.set_xlabel("keep of the whole network, event by event")
        axes.set_title("kept share of each layer's weights")
        if len(names) * len(events) <= CELLS:
            for row, line in enumerate(shares):
                for column, share in enumerate(line):
                    colour = "black" if share > 0.6 else "white"
                    axes.text(
                        column, row, f"{share:.2f}", ha="center", va="center", color=colour,
                        fontsize=7,
                    )  # fmt: skip
        figure.colorbar(image, ax=axes, label="kept share")
        return save(figure, path)


def _share(event: Mapping[str, Any], name: str) -> float:
    for layer in event["layers"]:
        if layer["name"] == name:
            return layer["nonzero"] / max(layer["params"], 1)
    return float("nan")
