"""Rows: the units of a candidate, divided into those that share one error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_prune.allocations.base import Candidate
from lightning_prune.structures.weights import Weights

NOTHING = torch.finfo(torch.float32).eps  # a row whose sensitivities sum to no more is dead


class Rows(NamedTuple):
    """Units by row, in float64 on the CPU, where sums are the same in every run.

    Arguments:
        owner: (n_units,) int64, the row of every unit.
        share: (n_units,) the scores to the precision of float32, beyond which they only break
            ties; 0 where a unit is gone, scores nothing or its row is dead.
        total: (rows,) the sums of `share`.
        order: (n_units,) int64, the units row after row, within a row the best first, equal ones
            in their order, what is gone last.
    """

    owner: Tensor
    share: Tensor
    total: Tensor
    order: Tensor

    @classmethod
    def of(cls, candidate: Candidate, by_sign: bool) -> Rows:
        """The rows of a candidate.

        Arguments:
            candidate: Of single weights, or of anything that is a single row.
            by_sign: Single weights have a row for every filter and sign, so that nothing cancels
                within a row; else all units are one row.
        """
        score = candidate.score.detach().cpu().double()
        if candidate.gone is not None:
            score = score.masked_fill(candidate.gone.cpu() == 0, -torch.inf)
        owner, count = torch.zeros(len(score), dtype=torch.int64), 1
        if by_sign and isinstance(candidate.structure, Weights):
            (layer,) = candidate.group.layers
            weight = layer.weight.cpu()
            filters = weight.shape[layer.out_dim]
            lying = [-1 if d == layer.out_dim else 1 for d in range(weight.dim())]
            owner = 2 * torch.arange(filters).view(lying) + (weight < 0)
            owner, count = owner.reshape(-1), 2 * filters
        best = score.argsort(descending=True, stable=True)
        share = score.clamp(0.0, torch.finfo(torch.float32).max).float().double()
        total = torch.zeros(count, dtype=torch.float64).index_add_(0, owner, share)
        alive = total > NOTHING
        order = best[owner[best].argsort(stable=True)]
        return cls(owner, share * alive[owner], total * alive, order)

    def sums(self, values: Tensor) -> Tensor:
        """(rows,) float64: the sum over each row of (n_units,) values."""
        zeros = torch.zeros_like(self.total)
        return zeros.index_add_(0, self.owner, values.cpu().double())

    def ranks(self, order: Tensor | None = None) -> Tensor:
        """(n_units,) float64: 1 for the first of its row in an order of rows, by default ours."""
        order = self.order if order is None else order
        sizes = torch.bincount(self.owner, minlength=len(self.total))
        starts = sizes.cumsum(0) - sizes
        ranks = torch.empty(len(order), dtype=torch.float64)
        places = torch.arange(1, len(order) + 1) - starts[self.owner[order]]
        ranks[order] = places.double()
        return ranks

    def reordered(self, value: Tensor) -> Tensor:
        """(n_units,): rows one after another, within a row by value, smallest first."""
        order = self.order[value[self.order].argsort(stable=True)]
        return order[self.owner[order].argsort(stable=True)]
