"""Thinning: from masked filters to a physically smaller module, checked."""

from lightning_prune.thinning.dead import Dead
from lightning_prune.thinning.form import take_shapes
from lightning_prune.thinning.proof import Reference
from lightning_prune.thinning.shrink import Shrunk, shrink
from lightning_prune.thinning.sizes import sizes_of, take_sizes
from lightning_prune.thinning.thinning import Thinning, thin, thin_out

__all__ = [
    "Dead",
    "Reference",
    "Shrunk",
    "Thinning",
    "shrink",
    "sizes_of",
    "take_shapes",
    "take_sizes",
    "thin",
    "thin_out",
]
