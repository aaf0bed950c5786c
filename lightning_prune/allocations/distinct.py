"""Distinct units: how many different ones draws with replacement are expected to meet."""

from __future__ import annotations

import torch
from torch import Tensor

SLACK = 1e-9  # a sum of many terms may pass a whole number by its rounding
BLOCK = 1 << 22  # entries of a block


def expected_distinct(p: Tensor, draws: Tensor) -> Tensor:
    r"""(draws,) float64: :math:`\sum_j 1 - (1 - p_j)^N` for every N.

    Arguments:
        p: (n,) float64 probabilities, which sum to 1.
        draws: (draws,) numbers N, whole or not.
    """
    logs = torch.log1p(-p)
    # a unit that is certain is met by the first draw; 0 * inf is not a number
    logs = logs.clamp_min(-1e300)
    size = max(1, BLOCK // max(1, len(p)))
    parts = [-torch.expm1(part[:, None] * logs).sum(1) for part in draws.double().split(size)]
    return torch.cat(parts) if parts else draws.double()


def adaptive_draws(p: Tensor, counts: Tensor, *, rounded: bool = True) -> Tensor:
    r"""(counts,) float64: the smallest N that is expected to meet r distinct units; 0 for r = 0.

    All counts are found by one bisection. Beyond 2^53 it is exact to the precision of float64.

    Arguments:
        p: (n,) float64 positive probabilities, which sum to 1.
        counts: (counts,) numbers r of distinct units, in [0, n]; below n if not rounded.
        rounded: The expectation, rounded up, is r; else it is at least r.
    """
    target = counts.double() - 1 + SLACK if rounded else counts.double() - SLACK
    highest = float(target.max()) if len(target) else 0.0
    powers = torch.tensor([0.0, 1.0], dtype=torch.float64)
    reached = expected_distinct(p, powers)
    while reached[-1] <= highest:  # the expectation grows with N
        powers = torch.cat([powers, 2 * powers[-1:]])
        reached = torch.cat([reached, expected_distinct(p, powers[-1:])])
    place = torch.searchsorted(reached, target, right=True).clamp_min(1)
    low, high = powers[place - 1], powers[place]
    while True:
        middle = ((low + high) / 2).floor()
        open_ = (middle > low) & (middle < high)  # neighbours, in whole numbers or in float64
        if not bool(open_.any()):
            return torch.where(counts > 0, high, torch.zeros_like(high))
        enough = expected_distinct(p, middle) > target
        high = torch.where(open_ & enough, middle, high)
        low = torch.where(open_ & ~enough, middle, low)
