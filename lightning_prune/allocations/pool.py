"""The pool: the few keys among which a cut lies, and what all others cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_prune.network.counting import CHUNK

# keys drawn to place the bracket: a share of them, within these ends
SHARE, FEWEST, MOST = 16, 1 << 14, 1 << 17


class Pool(NamedTuple):
    """Where the cut lies: keys at `high`, keys inside, keys at `low`, and their prices."""

    above: int  # price of all keys above `high`
    high: float
    at_high: int  # price of the keys equal to it
    inside: np.ndarray
    prices: np.ndarray | int  # one for each key inside, or one for all
    low: float
    at_low: int


def bracket(
    keys: Sequence[Tensor], prices: Sequence[int], budget: int, absolute: bool
) -> tuple[float, float]:
    """(low, high): keys between which the threshold lies, four standard deviations to each side."""
    sizes = [key.numel() for key in keys]
    total, rng = sum(sizes), np.random.default_rng(0)
    wanted = min(MOST, max(FEWEST, total // SHARE))
    drawn, masses = [], []
    for key, price, size in zip(keys, prices, sizes, strict=True):
        count = max(1, wanted * size // total)
        places = torch.from_numpy(rng.integers(0, max(size, 1), count if size else 0))
        drawn.append(key[places.to(key.device)].cpu().numpy())
        masses.append(np.full(len(places), price * size / count))
    sample, mass = np.concatenate(drawn), np.concatenate(masses)
    sample = np.abs(sample) if absolute else sample
    if len(set(prices)) == 1:
        sample, spent = np.sort(sample)[::-1], np.cumsum(mass)
    else:
        order = np.argsort(sample)[::-1]
        sample, spent = sample[order], np.cumsum(mass[order])
    share = min(1.0, budget / spent[-1])
    spread = (share * (1 - share) / len(sample)) ** 0.5 + 2 / len(sample)
    slack = 4 * spread * float(mass.max() / mass.mean()) ** 0.5
    upper = int(np.searchsorted(spent, (share - slack) * spent[-1]))
    lower = int(np.searchsorted(spent, (share + slack) * spent[-1]))
    high = np.inf if share <= slack else float(sample[upper])
    low = -np.inf if lower >= len(sample) else float(sample[lower])
    return low, high


def gather(
    keys: Sequence[Tensor], prices: Sequence[int], ends: tuple[float, float], absolute: bool
) -> Pool:
    """The pool of all keys within a bracket, by one pass; exact if the bracket holds the cut."""
    above, at_high, at_low, inside = 0, 0, 0, []
    low, high = ends
    for key, price in zip(keys, prices, strict=True):
        if key.device.type == "cpu":
            counts, values = _scan(key.numpy(), ends, absolute)
        else:
            whole = key.abs() if absolute else key
            flags = (whole > high, whole == high, whole == low)
            over, most, least = (int(flag.count_nonzero()) for flag in flags)
            counts = (over, most, least)
            values = whole[(whole > low) & (whole < high)].cpu().numpy()
        above, at_high = above + counts[0] * price, at_high + counts[1] * price
        at_low += counts[2] * price
        inside.append(values)
    joined = np.concatenate(inside)
    if len(set(prices)) == 1:
        return Pool(above, high, at_high, joined, prices[0], low, at_low)
    spread = [np.full(len(v), p) for v, p in zip(inside, prices, strict=True)]
    return Pool(above, high, at_high, joined, np.concatenate(spread), low, at_low)


def _scan(
    flat: np.ndarray, ends: tuple[float, float], absolute: bool
) -> tuple[tuple[int, int, int], np.ndarray]:
    """((keys above high, equal to high, equal to low), keys strictly between)."""
    least, most = (flat.dtype.type(end) for end in ends)
    upper, lower = np.zeros(CHUNK, np.bool_), np.zeros(CHUNK, np.bool_)
    passing, over, found = np.empty(CHUNK, flat.dtype), 0, [flat[:0]]
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        part = np.abs(part, out=passing[: part.size]) if absolute else part
        beyond, risen = upper[: part.size], lower[: part.size]
        np.greater(part, most, out=beyond)
        np.greater_equal(part, least, out=risen)
        over += np.count_nonzero(beyond)
        risen ^= beyond  # from low up to high, ends included
        found.append(part[risen])
    values = np.concatenate(found)
    high, low = values == most, values == least
    at_high, at_low = np.count_nonzero(high), np.count_nonzero(low & ~high)
    return (int(over), int(at_high), int(at_low)), values[~(high | low)]


def whole_pool(keys: Sequence[Tensor], prices: Sequence[int], absolute: bool = False) -> Pool:
    """The pool of all keys: for few of them."""
    values = [(key.abs() if absolute else key).cpu().numpy() for key in keys]
    spread = [np.full(len(v), p) for v, p in zip(values, prices, strict=True)]
    return Pool(0, np.inf, 0, np.concatenate(values), np.concatenate(spread), -np.inf, 0)
