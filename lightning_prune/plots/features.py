"""Features: what every network makes of the pixels that another one decides by."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lightning_prune.plots.style import new_figures, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

PANELS = {"confidence": "confidence in the true class", "accuracy": "accuracy"}


def plot_features(rows: DataFrame, path: str | os.PathLike[str] | None = None) -> Figure:
    """Confidence and accuracy on the most informative pixels, a row for whose they are.

    Arguments:
        rows: Of `lightning_prune.evaluation.informative_features` as a frame; of several rows of
            a pair, such as those of several seeds, the mean is shown.
        path: Where the figure is saved; None: nowhere.

    Raises:
        ValueError: A column is missing, or there is no row.
    """
    needed = ("ranked_by", "judged_by", *PANELS, "units", "kept", "images")
    missing = [name for name in needed if name not in rows.columns]
    if missing or rows.empty:
        what = f"no column {missing[0]!r}" if missing else "no row"
        raise ValueError(f"The frame has {what}; give rows of informative_features.")
    names = list(dict.fromkeys([*rows["ranked_by"], *rows["judged_by"]]))
    side = 1.4 + 0.62 * len(names)
    with new_figures(1, 2, 2 * side + 0.4, side + 0.5, sharey=True) as (figure, axes):
        for here, (column, title) in zip(axes, PANELS.items(), strict=True):
            table = rows.pivot_table(column, "ranked_by", "judged_by", "mean", dropna=False)
            _draw(here, table.reindex(index=names, columns=names), title)
        axes[0].set_ylabel("pixels ranked by")
        seen = rows.iloc[0]
        figure.suptitle(
            f"{seen['kept']:.0f} of {seen['units']:.0f} units kept, mean over "
            f"{seen['images']:.0f} images",
            fontsize=9,
        )
        return save(figure, path)


def _draw(axes: Axes, table: DataFrame, title: str) -> None:
    axes.imshow(table.to_numpy(float), cmap="cividis", vmin=0, vmax=1)
    for place, line in enumerate(table.to_numpy(float)):
        for column, value in enumerate(line):
            if value == value:
                colour = "black" if value > 0.55 else "white"
                axes.text(
                    column, place, f"{value:.2f}", color=colour, fontsize=8, ha="center",
                    va="center",
                )  # fmt: skip
    names = [str(name) for name in table.columns]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("judged by")
    axes.set_title(title, fontsize=10)
    axes.grid(visible=False)
