"""A criterion of somebody else, in one file."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_prune.criteria import Criterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures import Structure


@dataclass(frozen=True)
class Range(Criterion):
    """Spread of a unit's coordinates: flat units go first."""

    power: float = 1.0

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): largest minus smallest coordinate."""
        units = structure.units(layer, layer.weight)
        return (units.amax(1) - units.amin(1)) ** self.power
