"""Excess error: what a network errs more off the nominal distribution, beside its parent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_prune.evaluation.shift_points import TEST, TRAIN, against_reference, curve_columns
from lightning_prune.evaluation.slope import Interval, bootstrap_slope

if TYPE_CHECKING:
    from pandas import DataFrame


def excess_error(shifted_error: float, nominal_error: float) -> float:
    """How much more a network errs on a shifted distribution than on the nominal one."""
    return shifted_error - nominal_error


def excess_difference(
    pruned_shifted: float, pruned_nominal: float, dense_shifted: float, dense_nominal: float
) -> float:
    """How much more excess error the pruned network has than the dense one.

    0: pruning costs no more off the nominal distribution than on it. What a shift adds to the
    errors of both networks alike cancels.

    Arguments:
        pruned_shifted: Error of the pruned network on the shifted distribution.
        pruned_nominal: On the nominal one.
        dense_shifted: Error of the dense network on the shifted distribution.
        dense_nominal: On the nominal one.

    Source:
        Lucas Liebenwein, Cenk Baykal, Brandon Carter, David Gifford and Daniela Rus, "Lost in
        Pruning: The Effects of Pruning Neural Networks beyond Test Accuracy", MLSys 2021,
        arXiv:2103.03014.
    """
    pruned = excess_error(pruned_shifted, pruned_nominal)
    return pruned - excess_error(dense_shifted, dense_nominal)


def excess(
    frame: DataFrame, by: Sequence[str] | None = None, reference: str = "dense"
) -> DataFrame:
    """The difference in excess error of every pruned network.

    A network's error off the nominal distribution is the mean over all distributions of the test
    side, and its nominal one the mean over those of the train side. Networks near chance err alike
    on all of them, so that their difference falls again; it tells of ratios short of that.

    Arguments:
        frame: Of `lightning_prune.shifts`.
        by: Columns that tell curves apart; None: the method and whatever else was swept.
        reference: `dense`, or `control`, which trained as long as the pruned networks.

    Returns:
        A frame with the columns of `by`, `seed`, `run`, `keep`, `ratio` (1 - keep) and
        `difference` (of shares of samples), sorted by curve, seed and ratio.

    Raises:
        ValueError: A column is missing, no network is pruned, a run lacks the reference, or a
            side has no distribution.
    """
    by, points = against_reference(frame, by, reference)
    empty = {TRAIN, TEST} - set(points["side"])
    if empty:
        raise ValueError(
            f"The excess error needs distributions of both sides, and there is none of the side "
            f"{sorted(empty)[0]!r}."
        )
    keys = list(dict.fromkeys([*by, "seed", "run", "keep"]))
    means = {
        side: points[points["side"] == side]
        .groupby(keys, dropna=False, as_index=False)[["error", "reference_error"]]
        .mean()
        for side in (TEST, TRAIN)
    }
    both = means[TEST].merge(means[TRAIN], on=keys, suffixes=("_test", "_train"))
    four = ("error_test", "error_train", "reference_error_test", "reference_error_train")
    table = both[keys].assign(
        difference=list(map(excess_difference, *(both[name] for name in four)))
    )
    table.insert(table.columns.get_loc("keep") + 1, "ratio", 1 - table["keep"])
    return table.sort_values([*by, "seed", "ratio"], kind="stable", ignore_index=True)


def excess_slopes(
    table: DataFrame, repeats: int = 2000, level: float = 0.95, interval: Interval = "t"
) -> DataFrame:
    """How fast every curve's difference in excess error grows with the prune ratio.

    Lines go through the origin, where nothing is pruned. Points of one seed are of one network, so
    that the interval is from as many draws as there are seeds; see `bootstrap_slope`.

    Arguments:
        table: Of `excess`.
        repeats: Of the bootstrap.
        level: Of the interval.
        interval: `t` or `percentile`.

    Returns:
        A frame with the columns that tell curves apart, then `slope` (excess error per prune
        ratio, so also percentage points per percent), `low`, `high` (NaN for one seed),
        `networks`, `points` and `repeats`.

    Raises:
        ValueError: Nothing is pruned, or a number is out of its range.
    """
    import pandas as pd

    by = curve_columns(table)
    rows = []
    for key, group in table.groupby(by, dropna=False, sort=False):
        x, y, seeds = (group[name].tolist() for name in ("ratio", "difference", "seed"))
        found = bootstrap_slope(x, y, seeds, repeats, level, interval=interval)
        rows.append((*key, found.value, found.low, found.high, found.clusters, len(group), repeats))
    columns = [*by, "slope", "low", "high", "networks", "points", "repeats"]
    return pd.DataFrame(rows, columns=columns)
