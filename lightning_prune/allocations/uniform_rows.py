"""Uniform allocation by rows: the same share of the weights of every output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate
from lightning_prune.structures.base import Structure
from lightning_prune.structures.weights import Weights


@dataclass(frozen=True)
class UniformRows(Allocation):
    """Every output of every layer keeps the same share of its weights, to within one weight.

    Scores are compared within a row only, so that no output is cut off from the inputs before the
    others are; the factor of a row does not matter. Where a budget ends in the middle of a rank,
    the rows whose weight of that rank is larger beside their mean keep it.

    References:
        | A Simple and Effective Pruning Approach for Large Language Models (Sun et al., 2024)
        | https://arxiv.org/abs/2306.11695
    """

    needs: ClassVar[type[Structure]] = Weights

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each: -(r - 1 + q) / n for the weight of rank r (best 1) of the n of its row.

        q in (0, 1] is the place of the row among all rows of the layer, for that rank. In float64,
        so that neighbours in large layers differ.

        Raises:
            ValueError: Units are not single weights.
        """
        return [_row_keys(candidate) for candidate in candidates]


def _row_keys(candidate: Candidate) -> Tensor:
    layers = candidate.group.layers
    if len(layers) != 1 or candidate.group.size != layers[0].weight.numel():
        raise ValueError("UniformRows compares single weights; use the structure Weights.")
    layer, score = layers[0], candidate.score
    if candidate.gone is not None:  # behind all that is there, whatever it scores
        score = score.masked_fill(candidate.gone == 0, -torch.inf)
    rows = score.view(layer.weight.shape).movedim(layer.out_dim, 0)
    ordered, order = rows.flatten(1).double().sort(dim=1, descending=True, stable=True)
    there = ordered.clamp_min(0).sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    places = _places(ordered / there, dim=0)
    ranks = torch.arange(order.shape[1], dtype=torch.float64, device=score.device)
    keys = (ranks + places / len(rows)).div_(-order.shape[1])
    keys = torch.empty_like(keys).scatter_(1, order, keys)
    return keys.view(rows.shape).movedim(0, layer.out_dim).flatten()


def _places(values: Tensor, dim: int) -> Tensor:
    """Float64 of the same shape: along the dimension 1 for the largest, 2 for the next."""
    order = values.argsort(dim=dim, descending=True, stable=True)
    shape = [-1 if axis == dim else 1 for axis in range(values.dim())]
    count = torch.arange(1, values.shape[dim] + 1, dtype=torch.float64, device=values.device)
    places = count.new_empty(values.shape)
    return places.scatter_(dim, order, count.view(shape).expand(values.shape))
