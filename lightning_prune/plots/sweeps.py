"""Sweeps: a metric over keep, a line for every method, with its spread over seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from lightning_prune.plots.style import CONTROL, new_figure, save
from lightning_prune.table import points, swept

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

Band = Literal["std", "ci95", "minmax"]
BANDS = {
    "std": "standard deviation",
    "ci95": "95 % confidence of the mean",
    "minmax": "smallest to largest",
}
# of Okabe and Ito (2008), without the control's and the yellow, which is faint on white
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
STYLES = ("-", "--", "-.", ":")
FLOOR = "#009E73"
NEAR = 1.12  # ratio of two budgets whose labels would touch


def plot_curves(
    frame: DataFrame,
    path: str | os.PathLike[str] | None = None,
    metric: str | None = None,
    by: str | Sequence[str] | None = None,
    band: Band = "std",
    floor: float | None = None,
) -> Figure:
    """The mean of a metric over keep, a line for every method, with a band over seeds.

    Arguments:
        frame: Of `lightning_prune.curves`.
        path: Where the figure is saved; None: nowhere.
        metric: A column; None: the main metric, with the dense control beside it.
        by: Columns that tell lines apart; None: the method and whatever else was swept.
        band: `std` (of the runs), `ci95` (Student's t, of their mean) or `minmax`. Where a
            budget has one run there is none.
        floor: Entropy of the data in nats, which no likelihood can pass; None: unknown.

    Raises:
        ValueError: A column is missing, the band is unknown, or no row has the metric.
    """
    if band not in BANDS:
        raise ValueError(f"The band is {', '.join(map(repr, BANDS))}, not {band!r}.")
    column = metric or "metric"
    by = [by] if isinstance(by, str) else list(by or swept(frame))
    missing = [name for name in (column, *by) if name not in frame.columns]
    if missing:
        raise ValueError(f"The frame has no column {missing[0]!r}; use one of {[*frame.columns]}.")
    known = points(frame)
    rows = known[known[column].notna()]
    if rows.empty:
        raise ValueError(f"No run of the frame has a number in {column!r}.")
    with new_figure(8.0, 4.6) as (figure, axes):
        labels = known[by].astype(str).agg(", ".join, axis=1)
        # by all rows, so that a method without a number does not change the others' colours
        for number, name in enumerate(sorted(labels.unique())):
            line = rows[labels.loc[rows.index] == name]
            if not line.empty:
                _draw_line(axes, _spread(line, column, band), number, name)
        if metric is None and rows["control"].notna().any():
            _draw_control(axes, rows)
        if floor is not None:
            axes.axhline(floor, color=FLOOR, ls=":", lw=1.6, label="entropy of the data")
        _label_budgets(axes, rows["keep_target"].unique().tolist())
        names = ", ".join(sorted(set(rows["main_metric"].dropna().astype(str))))
        axes.set_ylabel(metric or names or "metric")
        axes.set_xlabel(f"keep, share of the dense network's {rows['measure'].iloc[0]} (sparsity)")
        figure.suptitle(_title(rows, band), fontsize=9)
        if lost := sorted(set(labels[known[column].isna()])):
            figure.supxlabel(f"without a number: {', '.join(lost)}", fontsize=7)
        figure.legend(loc="outside right upper", fontsize=8)
        return save(figure, path)


def _spread(line: DataFrame, column: str, band: Band) -> DataFrame:
    """By budget: `keep`, `mean`, `low` and `high`, where one run's are its mean."""
    table = line.groupby("keep_target").agg(
        keep=("keep", "mean"),
        mean=(column, "mean"),
        std=(column, "std"),
        low=(column, "min"),
        high=(column, "max"),
        runs=(column, "count"),
    )
    if band == "minmax":
        return table
    width = table["std"].fillna(0)
    if band == "ci95":
        from scipy.stats import t

        width = width * t.ppf(0.975, (table["runs"] - 1).clip(lower=1)) / table["runs"] ** 0.5
    return table.assign(low=table["mean"] - width, high=table["mean"] + width)


def _draw_line(axes: Axes, table: DataFrame, number: int, name: str) -> None:
    colour = COLOURS[number % len(COLOURS)]
    style = STYLES[number // len(COLOURS) % len(STYLES)]
    marker = MARKERS[number % len(MARKERS)]
    axes.plot(table["keep"], table["mean"], color=colour, ls=style, marker=marker, ms=4, label=name)
    if len(table) > 1:
        axes.fill_between(
            table["keep"], table["low"], table["high"], color=colour, alpha=0.15, lw=0
        )
    else:
        axes.vlines(table["keep"], table["low"], table["high"], color=colour, lw=1.5)


def _draw_control(axes: Axes, rows: DataFrame) -> None:
    """The control's mean: by budget where it is known after as many cycles, else at its end."""
    cycles = rows.get("control_cycle")
    if (
        cycles is not None
        and cycles.notna().any()
        and rows.groupby("seed")[cycles.name].nunique().max() > 1
    ):
        table = _spread(rows.drop_duplicates(["seed", "keep_target"]), "control_cycle", "std")
        axes.plot(
            table["keep"], table["mean"], color=CONTROL, ls="--", lw=1.2,
            label="dense control, equal training",
        )  # fmt: skip
        axes.fill_between(
            table["keep"], table["low"], table["high"], color=CONTROL, alpha=0.12, lw=0
        )
        return
    control = rows.groupby("seed")["control"].mean()
    mean, deviation = control.mean(), control.std()
    axes.axhline(mean, color=CONTROL, ls="--", lw=1.2, label="dense control")
    if deviation == deviation:  # there are two seeds
        axes.axhspan(mean - deviation, mean + deviation, color=CONTROL, alpha=0.12, lw=0)


def _label_budgets(axes: Axes, keeps: list[float]) -> None:
    shown: list[float] = []
    for keep in sorted(keeps):
        if not shown or keep / shown[-1] > NEAR:
            shown.append(keep)
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{keep:.2g}\n({1 - keep:.2g})" for keep in shown])
    axes.set_xticks([], minor=True)


def _title(rows: DataFrame, band: Band) -> str:
    seeds = rows["seed"].nunique()
    if seeds < 2:
        return "one seed, so without a band"
    return f"mean over {seeds} seeds; band: {BANDS[band]}"
