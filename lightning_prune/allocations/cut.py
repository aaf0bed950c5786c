"""The exact cut: which keys stay under a budget, without sorting or joining all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_prune.allocations.histogram import histogram_pool
from lightning_prune.allocations.pool import FEWEST, Pool, bracket, gather, whole_pool
from lightning_prune.network.counting import CHUNK


class Cut(NamedTuple):
    """Keys above `threshold` stay; of those equal to it, as many as `left` pays for, in order.

    A key of -inf never stays.
    """

    threshold: float
    left: int


def exact_cut(
    keys: Sequence[Tensor], prices: Sequence[int], budget: int, absolute: bool = False
) -> Cut:
    """The largest set of leading keys whose price is within `budget`.

    A sample gives a bracket that holds the threshold almost surely; one pass counts what lies
    above it and gathers what lies inside, where the answer is selected. If the count shows a
    miss, a histogram over the bits of the keys takes over. Both are exact.

    Arguments:
        keys: One-dimensional float tensors without NaN; larger stays.
        prices: Positive price of every unit of the tensor at the same place.
        budget: Non-negative.
        absolute: The keys are the absolute values of these tensors, taken in passing.
    """
    if sum(key.numel() for key in keys) <= 2 * FEWEST:
        return _select(whole_pool(keys, prices, absolute), budget)
    low, high = bracket(keys, prices, budget, absolute)
    pool = gather(keys, prices, (low, high), absolute)
    inside = pool.prices * len(pool.inside) if isinstance(pool.prices, int) else pool.prices.sum()
    ends = pool.above + pool.at_high + int(inside) + pool.at_low
    if pool.above > budget or (ends <= budget and low > -np.inf):
        whole = [key.abs() for key in keys] if absolute else keys
        single = all(key.dtype == torch.float32 for key in keys)
        pool = histogram_pool(whole, prices, budget) if single else whole_pool(whole, prices)
    return _select(pool, budget)


def empty_like_all(keys: Sequence[Tensor]) -> list[Tensor]:
    """Uninitialised float32 tensors in the keys' sizes; on the CPU parts of one block.

    numpy asks for huge pages for a large block, which is several times faster to touch first.
    """
    if any(key.device.type != "cpu" for key in keys):
        return [torch.empty(key.shape, dtype=torch.float32, device=key.device) for key in keys]
    sizes = [key.numel() for key in keys]
    return list(torch.from_numpy(np.empty(sum(sizes), np.float32)).split(sizes))


def keep_units(
    key: Tensor, price: int, cut: Cut, kept: Tensor, absolute: bool = False
) -> tuple[int, Cut]:
    """Write what stays of one tensor, (n_units,) float32 of 0 and 1, into `kept`.

    Tensors are asked in order, so that equal keys are taken in order.

    Returns:
        How many units stay, and the cut for the next tensor.
    """
    if key.device.type != "cpu":
        key, absolute = key.abs() if absolute else key, False
        kept.copy_(key > cut.threshold)
        count = int(kept.count_nonzero())
    else:
        count = _write_above(key.numpy(), cut.threshold, kept.numpy(), absolute)
    if cut.left == 0:
        return count, cut
    key = key.abs() if absolute else key
    if cut.left < price or cut.threshold == -np.inf:
        # the first tie that does not fit ends the order
        return count, cut._replace(left=0) if bool((key == cut.threshold).any()) else cut
    ties = (key == cut.threshold).nonzero()[:, 0]
    taken = min(len(ties), cut.left // price)
    kept[ties[:taken]] = 1.0
    left = cut.left - taken * price if taken == len(ties) else 0
    return count + taken, cut._replace(left=left)


def _write_above(source: np.ndarray, threshold: float, target: np.ndarray, absolute: bool) -> int:
    limit, count = source.dtype.type(threshold), 0
    passing, flags = np.empty(CHUNK, source.dtype), np.empty(CHUNK, np.bool_)
    for start in range(0, source.size, CHUNK):  # a chunk stays in the cache for all operations
        part = source[start : start + CHUNK]
        above = flags[: part.size]
        part = np.abs(part, out=passing[: part.size]) if absolute else part
        np.greater(part, limit, out=above)
        np.copyto(target[start : start + CHUNK], above)
        count += np.count_nonzero(above)
    return int(count)


def _select(pool: Pool, budget: int) -> Cut:
    spent = pool.above
    if spent + pool.at_high > budget:
        return Cut(pool.high, budget - spent)
    spent += pool.at_high
    if isinstance(pool.prices, int):
        values, fits = np.sort(pool.inside)[::-1], (budget - spent) // pool.prices
        sums = None
    else:
        order = np.argsort(pool.inside)[::-1]
        values, sums = pool.inside[order], np.cumsum(pool.prices[order])
        fits = int(np.searchsorted(sums, budget - spent, side="right"))
    if fits >= len(values):
        if len(values):  # seven distinct keys can have none between two of them
            spent += len(values) * int(pool.prices) if sums is None else int(sums[-1])
        fitting = spent + pool.at_low <= budget
        return Cut(-np.inf, 0) if fitting or pool.low == -np.inf else Cut(pool.low, budget - spent)
    threshold = values[fits]
    first = len(values) - int(np.searchsorted(values[::-1], threshold, side="right"))
    paid = first * int(pool.prices) if sums is None else (int(sums[first - 1]) if first else 0)
    return Cut(float(threshold), budget - spent - paid)
