"""Layers without a network, and the longest prefix that fits, found by trying all of them."""

from itertools import accumulate

import torch
from torch import nn

from lightning_prune.allocations import Candidate, allocate
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.structures import Weights

GONE = -torch.inf


class OneByOne(Weights):
    """Single weights whose cost has to be asked for every selection as a whole."""

    additive = False


def group(name, units, price=1):
    """Units that cost a parameter, or `price` multiply-adds, each."""
    return Group(name, (Layer(name, nn.Identity(), positions=price),), (), units)


def select(allocation, values, budget, *, prices=None, structure=None, signed=False, gone=None):
    """A selection, and what it keeps of every layer; gains are taken in the order of `values`."""
    prices = prices or [1] * len(values)
    groups = [
        group(f"layer{i}", len(v), p) for i, (v, p) in enumerate(zip(values, prices, strict=True))
    ]
    candidates = [
        Candidate(g, structure or Weights(), v, h, signed)
        for g, v, h in zip(groups, values, gone or [None] * len(values), strict=True)
    ]
    selection = allocate(allocation, candidates, budget, "macs")
    return selection, [selection.gains[g][1] for g in groups]


def longest_prefix(keys, prices, budget):
    """Kept flags by layer: units in the order of their keys, the earlier of equal ones first.

    The first unit that does not fit ends the order; what is gone never stays.
    """
    joined = torch.cat(list(keys)) + 0.0  # -0.0 is 0.0
    order = joined.argsort(descending=True, stable=True)
    costs = torch.cat([torch.full((len(k),), p) for k, p in zip(keys, prices, strict=True)])[order]
    fits = (costs.cumsum(0) <= budget) & (joined[order] > GONE)
    kept = torch.zeros(len(joined))
    kept[order[fits]] = 1.0
    return list(kept.split([len(key) for key in keys]))


def every_prefix(keys):
    """By length, the flags by layer of the best units; plain Python, for a handful of units."""
    units = [(layer, i) for layer, key in enumerate(keys) for i in range(len(key))]
    ranked = sorted(units, key=lambda unit: -keys[unit[0]][unit[1]])
    sets = accumulate(([unit] for unit in ranked), initial=[])
    return [
        [[float((layer, i) in some) for i in range(len(key))] for layer, key in enumerate(keys)]
        for some in map(set, sets)
    ]
