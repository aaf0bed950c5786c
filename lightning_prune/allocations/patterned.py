"""Patterned allocation: the best n of every block of m."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate
from lightning_prune.structures.base import Structure
from lightning_prune.structures.pattern import Pattern


@dataclass(frozen=True)
class Patterned(Allocation):
    """The n best of every m weights stay, as the structure `Pattern(n, m)` says.

    Nothing is left to a budget: `keep` is an upper bound, and 1.0 means whatever the pattern
    leaves. Of equal scores the first stay. What is gone stays gone; a block may have fewer than n
    weights left then.

    Arguments:
        floor: Has no effect; the pattern decides.
    """

    atomic: ClassVar[bool] = True
    cuts: ClassVar[bool] = False
    needs: ClassVar[type[Structure]] = Pattern

    @property
    def foreseen(self) -> bool:
        """Of every m weights n stay, whichever they are."""
        return True

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each: +inf stays, -inf goes."""
        return [_key(candidate) for candidate in candidates]


def _key(candidate: Candidate) -> Tensor:
    structure, (layer,) = candidate.structure, candidate.group.layers
    assert isinstance(structure, Pattern)
    score = candidate.score
    if candidate.gone is not None:
        score = score.masked_fill(candidate.gone == 0, -torch.inf)
    kept = _ahead(structure.blocks(layer, score)) < structure.n
    return torch.where(structure.entries(layer, kept), torch.inf, -torch.inf)


def _ahead(blocks: Tensor) -> Tensor:
    """(blocks, m) how many of its block come before an entry; the earlier of equals does.

    Pairs are compared, which for the short blocks of patterns is far less work than to sort.
    """
    places = blocks.mT.contiguous()  # a place of all blocks is one run of memory
    ahead = torch.zeros(places.shape, dtype=torch.int16, device=blocks.device)
    for late in range(1, len(places)):
        for early in range(late):
            first = places[early] >= places[late]
            ahead[late] += first
            ahead[early] += ~first
    return ahead.mT
