"""Random scores: the baseline that every criterion has to beat."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.criteria.base import Criterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure


@dataclass(frozen=True)
class Random(Criterion):
    """Uniform random scores, a pure function of the seed and the layer's name.

    A unit has the same score at every event, on every process and after a resume; the random
    state of the run is neither read nor changed.

    Arguments:
        seed: Another one, another selection.
    """

    seed: int = 0

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) in [0, 1)."""
        count = len(structure.units(layer, layer.weight))
        # torch's generator on the CPU reads the lower 32 bits only
        seed = zlib.crc32(f"{self.seed} {layer.name}".encode())
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(count, generator=generator).to(layer.weight.device)
