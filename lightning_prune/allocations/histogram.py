"""Histograms over the bits of float keys: the exact fallback of the cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_prune.allocations.pool import Pool


def histogram_pool(keys: Sequence[Tensor], prices: Sequence[int], budget: int) -> Pool:
    """The class of equal keys at which the budget ends, by two passes of 65,536 bins."""
    above, prefix = 0, 0
    for shift in (16, 0):
        counts = np.zeros(1 << 16, np.int64)
        for key, price in zip(keys, prices, strict=True):
            bits = ordered_bits(key)
            if shift == 0:
                bits = bits[(bits >> 16) == prefix] & 0xFFFF
            counts += torch.bincount(bits >> shift, minlength=1 << 16).cpu().numpy() * price
        spent = above + np.cumsum(counts[::-1])
        place = int(np.searchsorted(spent, budget, side="right"))
        if place == 1 << 16:  # everything fits
            return Pool(above, -np.inf, budget + 1, np.empty(0, np.float32), 1, -np.inf, 0)
        chosen = (1 << 16) - 1 - place
        above = int(spent[place] - counts[chosen])
        prefix = (prefix << 16) | chosen
    value, mass = ordered_value(prefix), int(counts[chosen])
    return Pool(above, value, mass, np.empty(0, np.float32), 1, -np.inf, 0)


def ordered_bits(key: Tensor) -> Tensor:
    """Unsigned 32-bit integers (in int64) in the order of float32 keys; -0.0 equals 0.0."""
    bits = (key + 0.0).view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, -bits - 1, bits + (1 << 31)).bitwise_and_(0xFFFFFFFF)


def ordered_value(bits: int) -> float:
    """The float32 whose `ordered_bits` are these."""
    raw = bits - (1 << 31) if bits >= 1 << 31 else -bits - 1
    return float(np.array([raw], np.int64).astype(np.int32).view(np.float32)[0])
