"""Similarity: how far networks agree with the dense one as noise on their inputs grows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_prune.plots.style import CONTROL, DENSE, new_figures, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

PANELS = {
    "matching": "share of matching predictions",
    "distance": "distance of softmax outputs",
}
# references by name of the network, so that they are told apart from pruned ones
REFERENCES: Mapping[str, dict[str, Any]] = {
    "separate": {"color": DENSE, "ls": "--", "label": "dense, trained apart"},
    "control": {"color": CONTROL, "ls": "-.", "label": "dense control"},
}
LABELLED = 8  # pruned networks in the legend, the first and the last among them


def plot_similarity(rows: DataFrame, path: str | os.PathLike[str] | None = None) -> Figure:
    """Matching predictions and distance of outputs over noise, a line for every network.

    Of several rows of one network, such as those of several seeds, the line is the mean and the
    band their standard deviation; of a single one the band is that of its draws. The darker a
    line, the less its network keeps.

    Arguments:
        rows: Of `lightning_prune.evaluation.noise_similarity` as a frame. If there is a column
            `keep`, it tells networks apart that have the same name. Networks of the names
            `separate` and `control` are drawn as references.
        path: Where the figure is saved; None: nowhere.

    Raises:
        ValueError: A column is missing, or there is no row.
    """
    needed = ["network", "eps", *PANELS, *(f"{name}_std" for name in PANELS)]
    missing = [name for name in needed if name not in rows.columns]
    if missing or rows.empty:
        what = f"no column {missing[0]!r}" if missing else "no row"
        raise ValueError(f"The frame has {what}; give rows of noise_similarity.")
    rows = rows.assign(label=_labels(rows))
    pruned = [name for name in rows["label"].unique() if name not in REFERENCES]
    if "keep" in rows:
        largest = rows.groupby("label")["keep"].mean()
        pruned.sort(key=lambda name: -largest.get(name, 1.0))
    looks = _looks(pruned)
    with new_figures(1, 2, 9.2, 3.8) as (figure, axes):
        for here, (column, title) in zip(axes, PANELS.items(), strict=True):
            for name, look in looks.items():
                line = rows[rows["label"] == name]
                if not line.empty:
                    _draw(here, line, column, look)
            here.set_title(title, fontsize=10)
            here.set_xlabel("noise: uniform in [-eps, eps]; eps")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
        return save(figure, path)


def _labels(rows: DataFrame) -> list[str]:
    keeps = rows.get("keep")
    if keeps is None:
        return rows["network"].astype(str).tolist()
    return [
        f"keep {keep:.2g}" if keep == keep and keep is not None else str(name)
        for name, keep in zip(rows["network"], keeps, strict=True)
    ]


def _looks(pruned: list[str]) -> dict[str, dict[str, Any]]:
    """Of every line, from light to dark; references last, on top of the others."""
    from matplotlib import colormaps

    steps = max(len(pruned) - 1, 1)
    shown = {round(i * (len(pruned) - 1) / (LABELLED - 1)) for i in range(LABELLED)}
    if len(pruned) <= LABELLED:
        shown = set(range(len(pruned)))
    looks = {
        name: {
            "color": colormaps["viridis_r"](0.12 + 0.88 * place / steps),
            "label": name if place in shown else "_",
        }
        for place, name in enumerate(pruned)
    }
    return looks | dict(REFERENCES)


def _draw(axes: Axes, line: DataFrame, column: str, look: Mapping[str, Any]) -> None:
    groups = line.groupby("eps")
    mean = groups[column].mean().astype(float)
    spread = groups[column].std() if groups.size().max() > 1 else groups[f"{column}_std"].mean()
    spread = spread.astype(float).fillna(0)
    axes.plot(mean.index, mean, lw=1.5, **look)
    low, high = mean - spread, mean + spread
    axes.fill_between(mean.index, low, high, color=look["color"], alpha=0.12, lw=0)
