"""Uniform allocation: the same share of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate


@dataclass(frozen=True)
class Uniform(Allocation):
    """Every group keeps the same share of its units, to within one unit."""

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each: -r / n for the unit of rank r (best 1) among n.

        In float64, so that neighbouring ranks of large layers differ.
        """
        return [ranks_of(c).div_(-max(len(c.values), 1)) for c in candidates]


def ranks_of(candidate: Candidate) -> Tensor:
    """(n_units,) float64: 1 for the largest score; the earlier of equal ones ranks before.

    What is gone stands behind all that is there.
    """
    return _ranks(_standing(candidate))


def _standing(candidate: Candidate) -> Tensor:
    """(n_units,) scores; what is gone stands behind all that is there, whatever it scores."""
    if candidate.gone is None:
        return candidate.score
    return candidate.score.masked_fill(candidate.gone == 0, -torch.inf)


def _ranks(score: Tensor) -> Tensor:
    """(n_units,) float64: 1 for the largest; the earlier of equal scores ranks before."""
    ranks = torch.empty(score.shape, dtype=torch.float64, device=score.device)
    order = score.argsort(descending=True, stable=True)
    ranks[order] = torch.arange(1, len(score) + 1, dtype=torch.float64, device=score.device)
    return ranks
