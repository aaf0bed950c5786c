"""SET: the smallest weights change places with random ones."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.criteria.regrowth import Regrowth
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure


@dataclass(frozen=True)
class SET(Regrowth):
    """Sparse evolutionary training: the smallest active weights drop, random ones grow.

    What grows is a pure function of the seed, the layer's name and the progress of the schedule:
    another one at every event, the same on every process and after a resume. The random state of
    the run is neither read nor changed. The paper drops the smallest positive and the largest
    negative weights and a constant share; here it is the smallest magnitudes, and the share
    falls as in RigL's paper, which compares the two so.

    References:
        | Scalable Training of Artificial Neural Networks with Adaptive Sparse Connectivity inspired
          by Network Science (Mocanu et al., 2018)
        | https://arxiv.org/abs/1707.04780

    Arguments:
        drop: Share of the active weights that is dropped at the first event, in [0, 1].
        seed: Another one, another growth.

    Raises:
        ValueError: The share is out of range.
    """

    seed: int = 0

    def growth(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) float64, uniform in [0, 1)."""
        count = len(structure.units(layer, layer.weight))
        # torch's generator on the CPU reads the lower 32 bits only
        seed = zlib.crc32(f"{self.seed} {layer.name} {self.progress!r}".encode())
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(count, generator=generator, dtype=torch.float64)
        return drawn.to(layer.weight.device)
