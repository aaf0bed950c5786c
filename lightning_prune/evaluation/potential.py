"""Prune potential: how much can be pruned before a network errs more than its dense parent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lightning_prune.evaluation.shift_points import (
    NOMINAL,
    TEST,
    TRAIN,
    against_reference,
    curve_columns,
)

if TYPE_CHECKING:
    from pandas import DataFrame, Series

DELTA = 0.005  # of the error, half a percentage point, as in the paper
TOLERANCE = 1e-6  # errors are shares of samples: far below one of them, far above round-off


@dataclass(frozen=True)
class Potential:
    """The largest prune ratio that costs no more than a margin.

    Arguments:
        value: That ratio, 1 - keep; 0 where no point of the grid qualifies.
        next: The next larger ratio of the grid, so that the true potential lies from `value` to
            it if errors rise between them; None where the grid has none.
        censored: The largest ratio of the grid qualifies: the potential may be larger.
        none: No point of the grid qualifies.
        grid: How many points there are.
    """

    value: float
    next: float | None
    censored: bool
    none: bool
    grid: int

    def to_dict(self) -> dict[str, Any]:
        """Numbers by name, as JSON knows them."""
        return asdict(self)


def prune_potential(
    keeps: Sequence[float], errors: Sequence[float], dense_error: float, delta: float = DELTA
) -> Potential:
    """The largest prune ratio whose error is at most the dense network's and a margin.

    Smaller ratios need not qualify: errors are not monotone, and often fall before they rise. A
    share of n samples moves in steps of 1 / n: of 200 of them half a percentage point is one.

    Arguments:
        keeps: Share that each pruned network keeps, in [0, 1], in any order.
        errors: Of each of them, any number of which smaller is better (share of wrong samples,
            negative log-likelihood); NaN never qualifies.
        dense_error: Of the dense network, on the same data.
        delta: The margin, in the unit of the errors; inclusive, with a tolerance of 1e-6 for
            round-off.

    Raises:
        ValueError: There is no point, lengths differ, or a number is out of its range.

    Source:
        Lucas Liebenwein, Cenk Baykal, Brandon Carter, David Gifford and Daniela Rus, "Lost in
        Pruning: The Effects of Pruning Neural Networks beyond Test Accuracy", MLSys 2021,
        arXiv:2103.03014.
    """
    if not len(keeps) or len(keeps) != len(errors):
        raise ValueError(
            f"Every point is a keep and an error, not {len(keeps)} keeps and {len(errors)} errors."
        )
    if not all(0 <= keep <= 1 for keep in keeps):
        raise ValueError(f"A keep is a share from 0 to 1, not one of {list(keeps)}.")
    if not (math.isfinite(dense_error) and math.isfinite(delta)):
        raise ValueError(f"Nothing is within {delta} of an error of {dense_error}.")
    ratios = [1 - keep for keep in keeps]
    most = dense_error + delta + TOLERANCE
    fitting = [ratio for ratio, error in zip(ratios, errors, strict=True) if error <= most]
    value = max(fitting, default=0.0)
    beyond = [ratio for ratio in ratios if ratio > value or not fitting]
    return Potential(value, min(beyond, default=None), not beyond, not fitting, len(ratios))


def potentials(
    frame: DataFrame,
    by: Sequence[str] | None = None,
    delta: float = DELTA,
    reference: str = "dense",
) -> DataFrame:
    """The prune potential of every curve and seed on every distribution.

    Each pruned network is compared with the reference of its own run on the same samples. Runs of
    one budget each, with the same seed and settings, are one grid.

    Arguments:
        frame: Of `lightning_prune.shifts`.
        by: Columns that tell curves apart; None: the method and whatever else was swept.
        delta: Share of samples that may be wrong more often.
        reference: `dense`, or `control`, which trained as long as the pruned networks.

    Returns:
        A frame with the columns of `by`, `seed`, `distribution`, `severity`, `side`, then
        `potential`, `next` (NaN where there is none), `censored`, `none` and `grid`.

    Raises:
        ValueError: A column is missing, no network is pruned, or a run lacks the reference.
    """
    import pandas as pd

    by, points = against_reference(frame, by, reference)
    keys = [*by, "seed", "distribution", "severity", "side"]
    rows = []
    for key, group in points.groupby(keys, dropna=False, sort=False):
        lost = (group["error"] - group["reference_error"]).tolist()
        found = prune_potential(group["keep"].tolist(), lost, 0.0, delta)
        beyond = math.nan if found.next is None else found.next
        rows.append((*key, found.value, beyond, found.censored, found.none, found.grid))
    columns = [*keys, "potential", "next", "censored", "none", "grid"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values([*by, "seed"], kind="stable", ignore_index=True)


def summarise_potentials(table: DataFrame, nominal: str = NOMINAL) -> DataFrame:
    """Potentials of every curve: nominal, and mean and smallest over the distributions of a side.

    Where a share is censored, the numbers are lower bounds of what a finer end of the grid shows.

    Arguments:
        table: Of `potentials`.
        nominal: Name of the distribution of the unchanged test set.

    Returns:
        A frame with the columns that tell curves apart, then `nominal`, `train_mean`, `train_min`,
        `test_mean`, `test_min`, each the mean over seeds and with `_std` behind it the standard
        deviation (NaN for one seed; NaN too where a side has no distribution), `censored` (share
        of all potentials), `none` (likewise) and `seeds`.
    """
    import pandas as pd

    by = curve_columns(table)
    seeds = pd.DataFrame(
        [
            {**dict(zip([*by, "seed"], key, strict=True)), **_of_seed(group, nominal)}
            for key, group in table.groupby([*by, "seed"], dropna=False, sort=False)
        ]
    )
    names = [name for name in seeds.columns if name not in (*by, "seed")]
    groups = seeds.groupby(by, dropna=False, sort=False)
    found = groups[names].mean().join(groups[names].std().add_suffix("_std"))
    shares = table.groupby(by, dropna=False, sort=False)[["censored", "none"]].mean()
    found = found[[part for name in names for part in (name, f"{name}_std")]].join(shares)
    return found.assign(seeds=groups.size()).reset_index()


def _of_seed(group: DataFrame, nominal: str) -> dict[str, float]:
    def on(side: str) -> Series:
        return group.loc[group["side"] == side, "potential"]

    own = group.loc[group["distribution"] == nominal, "potential"]
    return {
        "nominal": own.mean(),
        **{f"{side}_{how}": on(side).agg(how) for side in (TRAIN, TEST) for how in ("mean", "min")},
    }
