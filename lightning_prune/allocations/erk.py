"""Erdos-Renyi-kernel allocation: layers of few weights for their inputs and outputs keep more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate
from lightning_prune.allocations.uniform import ranks_of
from lightning_prune.network.groups import Group


@dataclass(frozen=True)
class ERK(Allocation):
    r"""Every layer keeps a share proportional to the sum of its dimensions over their product.

    A weight of shape (out, in, height, width) has the factor
    :math:`f = (out + in + height + width) / (out \cdot in \cdot height \cdot width)`, a linear one
    :math:`(out + in) / (out \cdot in)`. Layers whose share would exceed 1 stay whole, and the
    others share the rest of the budget in the same proportion. Within a layer the best units
    stay. The number of units that a layer keeps depends on shapes and budget only.

    The papers allocate single weights. Of other units each layer keeps that share of them; a
    group of several layers has their dimensions and their products summed.

    References:
        | Scalable Training of Artificial Neural Networks with Adaptive Sparse Connectivity inspired
          by Network Science (Mocanu et al., 2018)
        | https://arxiv.org/abs/1707.04780
        | Rigging the Lottery: Making All Tickets Winners (Evci et al., 2020)
        | https://arxiv.org/abs/1911.11134
    """

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each: -r / (f n) for the unit of rank r (best 1) among n, in float64."""
        return [ranks_of(c).div_(-_factor(c.group) * c.group.size) for c in candidates]


def _factor(group: Group) -> float:
    """f: the share of the group's units, up to a constant that the budget decides."""
    shapes = [layer.weight.shape for layer in group.layers]
    return sum(sum(shape) for shape in shapes) / sum(shape.numel() for shape in shapes)
