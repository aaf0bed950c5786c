"""Low rank: what theory says of the error of factored layers, beside the error that they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.allocations import Selection
from lightning_prune.bounds.layer_bounds import ROUNDING, Bounds, LayerBound
from lightning_prune.criteria.spectral import spectral_bound
from lightning_prune.lowrank import spectra
from lightning_prune.network.layers import Layer
from lightning_prune.structures import Ranks


@dataclass(frozen=True, eq=False)
class Foreseen:
    """A layer that is to be factored.

    Arguments:
        layer: As it is before.
        structure: How it is folded.
        weight: Dense.
        bound: On the relative spectral error, proved.
    """

    layer: Layer
    structure: Ranks
    weight: Tensor
    bound: float


@dataclass(frozen=True)
class SpectralBounds(Bounds):
    """Relative spectral errors of factored layers: of the folded weight, not of its outputs."""

    def note(self) -> str:
        """What to make of it, in one sentence."""
        # factors are stored in the precision of the weight, so nothing is exact beyond it
        broken = sum(x.error > x.bound * (1 + ROUNDING) + ROUNDING for x in self.layers.values())
        told = (
            f"the relative spectral error of a factored weight is at most {self.bound:.3g} by the "
            f"theory and {self.error:.3g} at most as measured"
        )
        if broken:
            told += f"; {broken} of {len(self.layers)} layers err by more than their bound"
        return told


def foresee(selection: Selection) -> list[Foreseen]:
    r"""The layers of a selection that will be factored, before it is written.

    With :math:`d_i` the largest singular value that is left out of slice i, the spectral error is
    at most :math:`\sqrt{\sum_i d_i^2}`, whichever error the method allocates by.
    """
    found = []
    for group, (structure, gain) in selection.gains.items():
        plain = type(structure) is Ranks and not bool(((gain != 0) & (gain != 1)).any())
        if not plain or bool(gain.all()):
            continue
        assert isinstance(structure, Ranks)
        (layer,) = group.layers
        values = structure.spectrum(layer)
        left_out = values[..., (gain == 0).to(values.device)].amax(-1)
        norm = structure.norm(layer)
        bound = float(spectral_bound(left_out, "rss")) / norm if norm else 0.0
        found.append(Foreseen(layer, structure, layer.weight, bound))
    return found


@torch.no_grad()
def measure_errors(foreseen: Sequence[Foreseen]) -> SpectralBounds | None:
    """Bounds beside errors, once the selection is written; None: no layer was factored."""
    layers = {}
    for one in foreseen:
        folding = dataclasses.replace(one.structure.folding(one.layer), slices=1)
        before = one.weight.to(torch.float64)
        lost = before - one.layer.weight.to(torch.float64)
        norm, error = (float(spectra(w, folding)[1].max()) for w in (before, lost))
        relative = error / norm if norm else 0.0
        layers[one.layer.name] = LayerBound(None, one.bound, relative, relative)
    return SpectralBounds(layers, 0) if layers else None
