"""Slopes: lines through the origin, with intervals that know which points are of one network."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Interval = Literal["t", "percentile"]


@dataclass(frozen=True)
class Slope:
    """The slope of a line through the origin and its interval.

    Arguments:
        value: By least squares, in the unit of y over that of x.
        low: Lower end of the interval; NaN for one cluster, which says nothing of others.
        high: Upper end.
        clusters: Networks, or whatever else points that belong together were drawn with.
        repeats: Of the bootstrap.
    """

    value: float
    low: float
    high: float
    clusters: int
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """Numbers by name."""
        return asdict(self)


def slope_through_origin(x: Sequence[float], y: Sequence[float]) -> float:
    """The least-squares slope of y = slope x, which is sum(x y) / sum(x x).

    Raises:
        ValueError: Lengths differ, a number is not finite, or every x is 0.
    """
    product, square = _sums(x, y)
    return float(product.sum() / square.sum())


def bootstrap_slope(
    x: Sequence[float],
    y: Sequence[float],
    clusters: Sequence[Hashable],
    repeats: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    interval: Interval = "t",
) -> Slope:
    """The slope through the origin, and an interval from resampling whole clusters.

    Points of one network err alike, so they are drawn together: an interval from drawing single
    points is too narrow. The clusters' sums of x y and x x are all that a draw needs.

    With few clusters percentiles are too narrow too. Three networks have ten different draws, and
    the interval can at best reach from the smallest of three slopes to the largest, which three
    slopes do around the true one in 1 - 2 / 8 of all cases. Hence `t`: the bootstrap's standard
    error, which misses a factor sqrt(g / (g - 1)) with g clusters, times the quantile of Student's
    t with g - 1 degrees of freedom. It takes the clusters' slopes to be about normal.

    Arguments:
        x: (n,), such as prune ratios.
        y: (n,), such as differences in excess error.
        clusters: (n,), which network each point is of.
        repeats: Draws, at least 2.
        level: Of the interval, in (0, 1).
        seed: Of the draws.
        interval: `t`, or `percentile`, the published way, which suits some tens of clusters.

    Raises:
        ValueError: Lengths differ, a number is not finite or out of its range, or every x is 0.

    Source:
        Line and percentiles (there of single points): Lucas Liebenwein, Cenk Baykal, Brandon
        Carter, David Gifford and Daniela Rus, "Lost in Pruning: The Effects of Pruning Neural
        Networks beyond Test Accuracy", MLSys 2021, arXiv:2103.03014. Small samples: Tim
        Hesterberg, "What Teachers Should Know about the Bootstrap: Resampling in the Undergraduate
        Statistics Curriculum", arXiv:1411.5279.
    """
    if interval not in ("t", "percentile"):
        raise ValueError(f"The interval is 't' or 'percentile', not {interval!r}.")
    if repeats < 2 or not 0 < level < 1:
        raise ValueError(
            f"It takes 2 repeats and a level between 0 and 1, not {repeats} and {level}."
        )
    if len(clusters) != len(x):
        raise ValueError(f"Every point has a cluster, not {len(x)} points and {len(clusters)}.")
    product, square = _sums(x, y)
    value = float(product.sum() / square.sum())
    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    owner, count = [places[cluster] for cluster in clusters], len(places)
    products = np.bincount(owner, product, count)
    squares = np.bincount(owner, square, count)
    # a cluster whose x are all 0 has no part in the slope, and draws of such alone have none
    products, squares = products[squares > 0], squares[squares > 0]
    count = len(squares)
    if count < 2:
        return Slope(value, math.nan, math.nan, count, repeats)
    drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=repeats)
    slopes = (drawn @ products) / (drawn @ squares)
    if interval == "percentile":
        low, high = np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2])
        return Slope(value, float(low), float(high), count, repeats)
    from scipy.stats import t

    error = slopes.std(ddof=1) * math.sqrt(count / (count - 1))
    half = float(error * t.ppf((1 + level) / 2, count - 1))
    return Slope(value, value - half, value + half, count, repeats)


def _sums(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Products and squares of every point."""
    own, other = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if own.shape != other.shape or own.ndim != 1:
        raise ValueError(f"x and y are as long as each other, not {own.shape} and {other.shape}.")
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        raise ValueError("A slope needs finite numbers.")
    if not own.any():
        raise ValueError("A slope needs an x that is not 0.")
    return own * other, own * own
