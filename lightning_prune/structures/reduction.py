"""Reductions: one score per unit of a group from those of the layers that share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer

Reduction = Literal["rss", "sum", "max"]


def check_reduction(reduction: str, structure: str) -> None:
    """Refuse a name that is none.

    Raises:
        ValueError: There is no such reduction.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"{structure} reduces scores by 'rss', 'sum' or 'max', not {reduction!r}.")


def check_rounding(round_to: int, structure: str) -> None:
    """Refuse blocks of no whole number of units.

    Raises:
        ValueError: It is no whole number from 1 on.
    """
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise ValueError(
            f"{structure}(round_to=...) is a whole number from 1 on, not {round_to!r}."
        )


def reduced(
    group: Group, scores: Mapping[str, Tensor], axes: Mapping[str, int], reduction: Reduction
) -> Tensor:
    """(group.size,): one score per unit.

    Arguments:
        group: Its slices say which unit owns each index of a layer.
        scores: By layer, (indices,) along its dimension; several indices may be of one unit.
        axes: By layer, that dimension.
        reduction: The root of the sum of squares, the sum or the maximum.
    """
    first = next(iter(scores.values()))
    start = -torch.inf if reduction == "max" else 0.0
    total = first.new_full((group.size,), start)
    for layer in group.layers:
        score = scores[layer.name]
        units = owners(group, layer, axes[layer.name]).to(score.device)
        owned, score = units[units >= 0], score[units >= 0]
        if reduction == "max":
            total.scatter_reduce_(0, owned, score, "amax")
        else:
            total.index_add_(0, owned, score.square() if reduction == "rss" else score)
    return total.sqrt() if reduction == "rss" else total


def owners(group: Group, layer: Layer, axis: int) -> Tensor:
    """(indices,) the unit of every index along a dimension of a layer, -1: of another group.

    Raises:
        KeyError: The dimension has no part in the group.
    """
    for part in group.slices:
        same = part.module is layer.module and part.tensor == layer.tensor
        if same and part.dim == axis and part.units is not None:
            return part.units
    raise KeyError(f"Layer {layer.name!r} has no unit of group {group.name!r}.")
