"""Rounding: units that leave in blocks, so that widths are multiples of a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.allocations.base import Candidate


@dataclass(frozen=True, eq=False)
class Ordered:
    """Units of all candidates in one order.

    Arguments:
        ranks: By candidate, (n_units,) the place of every unit in the order, best first.
        keys: (all units,) in that order; units that can stay come first, -inf last.
        stops: Numbers of units after which the order may be cut.
    """

    ranks: list[Tensor]
    keys: Tensor
    stops: Tensor


def ordered(candidates: Sequence[Candidate], keys: Sequence[Tensor], least: int) -> Ordered:
    """The order of units by their keys, largest first; equal ones in the order of indices.

    Where a structure rounds, the units of a group form blocks of that many in the order of their
    keys, with the mean of their keys, and stay or leave together. What a group has beyond a
    multiple is a block too, the last: a width is a multiple, or what it was.

    Arguments:
        candidates: The groups.
        keys: (n_units,) each; +inf stays first, -inf never stays.
        least: Units that stay.
    """
    own = [key.argsort(descending=True, stable=True) for key in keys]
    pieces, ends = [], []
    for candidate, key, order in zip(candidates, keys, own, strict=True):
        size = candidate.structure.round_to
        pieces.append(_means(key[order], size) if size > 1 else key[order])
        ends.append(_ends(key, size))
    joined = torch.cat(pieces)
    order = joined.argsort(descending=True, stable=True)
    ranks = torch.empty(len(joined), dtype=torch.int64, device=joined.device)
    ranks[order] = torch.arange(len(joined), device=joined.device)
    back = []
    for piece, inner in zip(ranks.split([len(key) for key in keys]), own, strict=True):
        back.append(torch.empty_like(piece).scatter_(0, inner, piece))
    eligible = int((joined > -torch.inf).sum())
    stops = (torch.cat(ends)[order][:eligible].nonzero()[:, 0] + 1).cpu()
    stops = torch.cat([torch.zeros(1, dtype=stops.dtype), stops])
    return Ordered(back, joined[order], stops[stops >= least])


def rounded_up(units: int, size: int, there: int) -> int:
    """The smallest multiple of `size` that is no less than `units`, and at most what is there."""
    return min(there, math.ceil(units / size) * size)


def _means(key: Tensor, size: int) -> Tensor:
    """The mean of every block of a sorted key, at all its units; what never stays stays out."""
    there = int((key > -torch.inf).sum())
    first = int((key == torch.inf).sum())
    blocks = torch.arange(there, device=key.device) // size
    total = torch.zeros(-(-there // size), dtype=torch.float64, device=key.device)
    finite = key[:there].double().clamp_max(torch.finfo(key.dtype).max)
    total.index_add_(0, blocks, finite)
    counts = torch.bincount(blocks, minlength=len(total)).clamp_min(1)
    means = (total / counts)[blocks].to(key.dtype)
    means[:first] = torch.inf
    return torch.cat([means, key[there:]])


def _ends(key: Tensor, size: int) -> Tensor:
    """(n_units,) bool in the order of the key: after which a block ends."""
    ends = (torch.arange(1, len(key) + 1, device=key.device) % size) == 0
    there = int((key > -torch.inf).sum())
    if there:
        ends[there - 1] = True
    return ends
