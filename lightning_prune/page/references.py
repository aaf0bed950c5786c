"""References: the lines that curves are compared with, dense networks and their controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_prune.page.curves import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

MANY = 3  # controls that are drawn one by one


def dense_mean(rows: DataFrame) -> float | None:
    """The dense networks' mean, every network once; None where it is unknown."""
    known = rows[rows["dense"].notna()].drop_duplicates(["seed", "dense"])
    return None if known.empty else float(known["dense"].mean())


def controls(rows: DataFrame) -> list[DataFrame]:
    """Means of the dense controls by budget, every control once.

    Curves whose events come at other times have controls of their own.

    Returns:
        Frames with `keep_target`, `mean`, `low` and `high`; of a control that is known at its end
        only, all rows are alike.
    """
    beside = rows.assign(beside=rows["control_cycle"].fillna(rows["control"]))
    changes = beside.groupby("curve")["control_cycle"].transform("count") > 0
    # of a control that is known at its end only, runs of all budgets have the same
    ends = beside[~changes].drop_duplicates(["curve", "seed", "beside"]).assign(keep_target=0.0)
    parts = [part for part in (beside[changes], ends) if part["beside"].notna().any()]
    found: dict[tuple, DataFrame] = {}
    for part in parts:
        for _, table in spread(part, "beside", ("curve", "keep_target")).groupby("curve"):
            key = tuple(zip(table["keep_target"], table["mean"], strict=True))
            found.setdefault(key, table)
    return list(found.values())


def draw_references(axes: Axes, rows: DataFrame, keeps: DataFrame | None) -> list[float]:
    """The dense network, its controls, and the smallest value there can be.

    Arguments:
        axes: Of a metric.
        rows: Of `lightning_prune.page.curves.frame`.
        keeps: `keep_target` and `x`: where on the axis a budget is; None: another axis, on which
            controls are horizontal lines, and those that change with the budget are left out.

    Returns:
        Heights of what was drawn.
    """
    from lightning_prune.plots.style import CONTROL, DENSE

    mean, heights = dense_mean(rows), []
    if mean is not None:
        heights.append(mean)
        axes.axhline(mean, color=DENSE, ls=":", lw=1.4, label="dense, before pruning")
    tables = controls(rows)
    flat = [table for table in tables if len(table) == 1]
    heights += [float(table["mean"].iloc[0]) for table in flat]
    if len(flat) > MANY:
        means = [float(table["mean"].iloc[0]) for table in flat]
        axes.axhspan(min(means), max(means), color=CONTROL, alpha=0.2, lw=0, label="dense controls")
        flat = []
    label = "dense control"
    for table in flat:
        row = table.iloc[0]
        axes.axhline(row["mean"], color=CONTROL, ls="--", lw=1.3, label=label)
        if row["low"] == row["low"]:
            axes.axhspan(row["low"], row["high"], color=CONTROL, alpha=0.1, lw=0)
        label = "_again"
    label = "dense control, equal training"
    for table in (table for table in tables if len(table) > 1 and keeps is not None):
        line = table.merge(keeps, on="keep_target").sort_values("x")
        heights += line["mean"].tolist()
        axes.plot(line["x"], line["mean"], color=CONTROL, ls="--", lw=1.3, label=label)
        if len(tables) <= MANY:
            axes.fill_between(line["x"], line["low"], line["high"], color=CONTROL, alpha=0.1, lw=0)
        label = "_again"
    return heights
