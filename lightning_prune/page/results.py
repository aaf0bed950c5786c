"""Results: what every curve reaches at every budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_prune.page.curves import spread
from lightning_prune.page.tables import Column

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    Column("curve", "method"),
    Column("keep_target", "keep asked", ".3g", "share of the dense network that was asked for"),
    Column("keep", "keep", ".3f", "share that is kept, in the measure of the run"),
    Column("mean", "mean", ".4f", "of the metric, over runs"),
    Column("half", "\N{PLUS-MINUS SIGN} 95 %", ".4f", "half of the interval of confidence"),
    Column("std", "std", ".4f", "standard deviation over runs"),
    Column("n", "n", ".0f", "runs with a number"),
    Column("difference", "\N{MINUS SIGN} control", "+.4f", "mean difference to the dense control "
           "of the same run, after as much training"),
    Column("keep_params", "params", ".3f", "share of the parameters that are not zero"),
    Column("keep_macs", "macs", ".3f", "share of the multiply-adds that are left"),
    Column("latency_ms", "ms", ".3g", "median latency of one sample, as measured in the runs"),
    Column("latency", "\N{DIVISION SIGN} dense", ".2f", "share of the dense network's latency"),
)  # fmt: skip


def results(rows: DataFrame) -> DataFrame:
    """Means over runs, by curve and falling budget.

    Arguments:
        rows: Of `lightning_prune.page.curves.frame`.

    Returns:
        A frame with `curve`, `keep_target`, `keep`, `mean`, `half`, `std`, `n`, `low`, `high`,
        `difference`, `keep_params`, `keep_macs`, `latency_ms` and `latency`.
    """
    by = ["curve", "keep_target"]
    table = spread(rows, "metric", by)
    table["half"] = table["high"] - table["mean"]
    columns = ["keep", "difference", "keep_params", "keep_macs", "latency_ms", "latency"]
    means = rows[rows["metric"].notna()].groupby(by)[columns].mean().reset_index()
    table = table.merge(means, on=by)
    table = table.sort_values(by, ascending=[True, False], ignore_index=True)
    return table[[*(c.name for c in COLUMNS), "low", "high"]]
