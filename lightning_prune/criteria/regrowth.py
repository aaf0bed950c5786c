"""Regrowth: at every event the smallest weights change places with others that grow."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.criteria.base import Criterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure
from lightning_prune.structures.weights import Weights

OCTAVES = 1100.0  # a float64 lies within 2^-1074 and 2^1024


@dataclass(frozen=True)
class Regrowth(Criterion):
    r"""Drops the smallest of a layer's active weights, and ranks all others by their growth.

    An event first prunes by magnitude to the budget. What is then active in a layer loses the
    share :math:`\frac{drop}{2} (1 + \cos(\pi t))` of smallest magnitude, t being the progress of
    the schedule from 0 to 1; as many grow in their places, those just dropped among the
    candidates, and start at zero with an empty optimizer state. A layer without a free place is
    left alone.

    Survivors score their magnitudes and all others a negative number, so that a cut which leaves
    fewer than survived prunes as magnitude would.

    Arguments:
        drop: Share of the active weights that is dropped at the first event, in [0, 1].

    Raises:
        ValueError: The share is out of range.

    Attributes:
        progress: Of the schedule, as it was at the last `begin`.
        active: By layer's name, (n_units,) floats, 0 where a unit is not active.
    """

    drop: float = 0.3
    progress: float = field(init=False, repr=False, compare=False)
    active: Mapping[str, Tensor] = field(init=False, repr=False, compare=False)
    regrows: ClassVar[bool] = True
    needs: ClassVar[type[Structure]] = Weights

    def __post_init__(self) -> None:
        if isinstance(self.drop, str) or not 0 <= self.drop <= 1:
            raise ValueError(f"drop is a share of the active weights in [0, 1], not {self.drop!r}.")

    def begin(self, progress: float, active: Mapping[str, Tensor]) -> None:
        """Begin an event; forgets the one before.

        Arguments:
            progress: Of the schedule: 0 at its first event, below 1 at its last.
            active: By layer's name, (n_units,) floats, 0 where a unit is not active.
        """
        object.__setattr__(self, "progress", progress)
        object.__setattr__(self, "active", active)

    def standing(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): magnitudes, and -1 where a unit is not active."""
        magnitude = structure.units(layer, layer.weight)[:, 0].abs()
        return magnitude.masked_fill(self.active[layer.name] == 0, -1.0)

    def survivors(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) floats: 1 where an active unit is not dropped; the later of ties drops."""
        standing = self.standing(layer, structure)
        flags = (standing >= 0).float()
        count = int(flags.count_nonzero())
        share = self.drop / 2 * (1 + math.cos(math.pi * self.progress))
        dropped = math.floor(share * count + 1e-6) if count < len(flags) else 0
        if dropped:
            last = standing.argsort(descending=True, stable=True)[count - dropped : count]
            flags[last] = 0.0
        return flags

    @abstractmethod
    def growth(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,), not negative: of what did not survive, the largest grow."""

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) float64: the magnitudes of survivors; of others log2(growth), below 0.

        The logarithm keeps the order of growths of any size, down to the last bit of a float32.
        """
        grown = self.growth(layer, structure).double().log2()
        survived = self.survivors(layer, structure) != 0
        standing = self.standing(layer, structure).double()
        return torch.where(survived, standing, grown.clamp(-OCTAVES, OCTAVES - 1) - OCTAVES)
