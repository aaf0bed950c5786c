"""RigL: the smallest weights change places with those of the largest gradient."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_prune.criteria.base import GradientCriterion
from lightning_prune.criteria.regrowth import Regrowth
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure


@dataclass(frozen=True)
class RigL(Regrowth, GradientCriterion):
    """The rigged lottery: the smallest active weights drop, those of largest gradient grow.

    Gradients are those of the sparse network with respect to its dense weights, summed over the
    batches of an event. As in the paper a weight that was just dropped may grow again at once;
    it starts at zero like every other, where the authors' program keeps its value.

    References:
        | Rigging the Lottery: Making All Tickets Winners (Evci et al., 2020)
        | https://arxiv.org/abs/1911.11134

    Arguments:
        drop: Share of the active weights that is dropped at the first event, in [0, 1].

    Raises:
        ValueError: The share is out of range.
    """

    def growth(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): absolute values of the summed gradients."""
        return structure.units(layer, self.seen[layer.name])[:, 0].abs()
