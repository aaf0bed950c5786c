"""Ranks: singular directions of a layer's weight, cut into slices; low rank as a structure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_prune.lowrank import (
    Folding,
    balanced,
    compose,
    divisors,
    factorise,
    foldable,
    folding_for,
    nearest_divisor,
    schemes_of,
    singular_vectors,
    spectra,
)
from lightning_prune.network.groups import Group, alone
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Measure, Structure

if TYPE_CHECKING:
    from lightning_prune.network.graph import Graph


@dataclass(frozen=True)
class Ranks(Structure):
    r"""Low rank: a unit is the j-th singular direction of every slice of a layer's weight.

    A weight is cut along its input channels into k slices, which are folded into matrices (see
    `lightning_prune.lowrank.Folding`). j directions of each cost
    :math:`j \, (k \, \mathrm{rows} + \mathrm{columns})` parameters, as two layers that run one
    after the other; where that is no less than the dense weight, the layer stays dense. What is
    written is a parametrization: the model is no plain module until `export_factors`, and its
    parameters are others, so optimizers are refilled. Linear layers and convolutions of any
    dimension, grouped ones as independent layers; transposed and depthwise ones stay dense.

    Directions are found anew at every event, from the weight that the factors stand for.

    References:
        | Compressing Neural Networks: Towards Determining the Optimal Layer-wise Decomposition
          (Liebenwein et al., 2021)
        | https://arxiv.org/abs/2107.11442

    Arguments:
        slices: Into which the channels are cut: a number (the nearest divisor of the channels is
            taken), several to choose from for every layer, or `divisors` for all there are.
        schemes: Of folding, 0 to 3: one, or several to choose from for every layer. Layers that
            have none of them (linear ones have no kernel to split) take scheme 0.

    Raises:
        ValueError: A number of slices is not positive, or there is no such scheme.
    """

    slices: int | Sequence[int] | str = 1
    schemes: int | Sequence[int] = 0
    # of a variant, what it was chosen from: spectra of all of that are worked out together
    among: int | Sequence[int] | str | None = field(default=None, repr=False, compare=False)

    lasting: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    changes_parameters: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("slices", "schemes"):
            value = getattr(self, name)
            if not isinstance(value, int | str):
                object.__setattr__(self, name, tuple(value))  # lists of yaml have no hash
        if isinstance(self.slices, str) and self.slices != "divisors":
            raise ValueError(f"slices are numbers, or 'divisors' for all, not {self.slices!r}.")
        if not isinstance(self.slices, str) and any(k < 1 for k in _several(self.slices)):
            raise ValueError(f"A weight is cut into 1 slice or more, not {self.slices!r}.")
        if any(s not in range(4) for s in _several(self.schemes)) or not _several(self.schemes):
            raise ValueError(f"The folding schemes are 0, 1, 2 and 3, not {self.schemes!r}.")

    @property
    def single(self) -> bool:
        """There is one folding to a layer, and nothing to choose from."""
        return isinstance(self.slices, int) and len(_several(self.schemes)) == 1

    @property
    def counted(self) -> bool:
        """What a group costs follows from how many of its units stay."""
        return True

    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """One group for every layer that can be factored; the graph is not asked for."""
        return [
            alone(layer, self._options(layer)[0].full_rank)
            for layer in layers
            if foldable(layer.module) is None
        ]

    def refused(self, layers: list[Layer], graph: Callable[[], Graph]) -> dict[str, str]:
        """Layers that cannot be factored, and why."""
        reasons = {layer.name: foldable(layer.module) for layer in layers}
        return {name: why for name, why in reasons.items() if why is not None}

    def variants(self, group: Group) -> list[Structure]:
        """One for every folding of the layer that is allowed."""
        return [
            dataclasses.replace(self, slices=f.slices, schemes=f.scheme, among=self.slices)
            for f in self._options(group.layers[0])
        ]

    def folding(self, layer: Layer) -> Folding:
        """How the layer is folded; of several ways, the first."""
        return self._options(layer)[0]

    def spectrum(self, layer: Layer) -> Tensor:
        """(groups, slices, full rank) float64: singular values of every slice, descending."""
        return self._spectra(layer)[self.folding(layer).slices]

    def norm(self, layer: Layer) -> float:
        """The spectral norm of the whole folded weight, the largest over groups."""
        return float(self._spectra(layer)[1].max())

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        r"""(full rank, groups * slices): :math:`u^T T v` for every singular pair of the weight.

        Of the weight itself they are its singular values, of its gradient their derivatives.
        """
        folding = self.folding(layer)
        if tensor is layer.weight or tensor.data_ptr() == layer.weight.data_ptr():
            return self.spectrum(layer).flatten(0, 1).T.to(tensor.dtype)
        left, _, right = singular_vectors(folding.matrices(layer.weight))
        matrices = folding.matrices(tensor).to(left)
        return ((left.mT @ matrices) * right).sum(2).T.to(tensor.dtype)

    def costs(self, group: Group, measure: Measure) -> list[int]:
        """By number of units that stay, what the layer costs; never more than dense."""
        (layer,) = group.layers
        folding = self.folding(layer)
        if measure == "params":
            dense, each = folding.numel, folding.params(1)
        else:
            dense = layer.positions * folding.numel
            each = folding.macs(1, layer.positions, layer.maps)
        return [min(dense, each * rank) for rank in range(folding.full_rank + 1)]

    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """Parameters, or multiply-adds, of the factors, or of the dense weight if it has less."""
        return sum(
            self.costs(group, measure)[min(int(gain.count_nonzero()), self._full(group))]
            for group, gain in gains.items()
        )

    def settle(self, gains: Mapping[Group, Tensor]) -> dict[Group, Tensor]:
        """Layers whose factors would be no smaller than the dense weight keep all of it."""
        settled = dict(gains)
        for group, gain in gains.items():
            folding = self.folding(group.layers[0])
            rank, positions = int(gain.count_nonzero()), group.layers[0].positions
            dense = positions * folding.numel
            spares = folding.macs(rank, positions, group.layers[0].maps) < dense
            if folding.params(rank) >= folding.numel and not spares:
                settled[group] = torch.ones_like(gain)
        return settled

    def write(self, group: Group, gain: Tensor) -> None:
        """Keep the directions with a gain, each scaled by it."""
        (layer,) = group.layers
        if bool((gain == 1).all()):
            return
        kept = gain.nonzero()[:, 0]
        folding = self.folding(layer)
        encoder, decoder = balanced(layer.weight, folding, kept, gain[kept])
        factorise(layer.module, folding, encoder, decoder)

    def restore(self, layer: Layer) -> None:
        """One plain weight again, the product of the factors."""
        compose(layer.module)

    def _spectra(self, layer: Layer) -> dict[int, Tensor]:
        counts = self._counts(layer, self.slices if self.among is None else self.among)
        return spectra(layer.weight, self.folding(layer), {1, *counts})

    def _full(self, group: Group) -> int:
        return self.folding(group.layers[0]).full_rank

    def _options(self, layer: Layer) -> list[Folding]:
        whole = folding_for(layer.module)
        schemes = schemes_of(whole.shape, _several(self.schemes)) or [0]
        return [
            dataclasses.replace(whole, scheme=scheme, slices=count)
            for scheme in schemes
            for count in self._counts(layer, self.slices)
        ]

    @staticmethod
    def _counts(layer: Layer, slices: int | Sequence[int] | str) -> list[int]:
        """Numbers of slices that the layer's channels allow."""
        channels = folding_for(layer.module).shape[1]
        if isinstance(slices, str):
            return list(divisors(channels))
        return list(dict.fromkeys(nearest_divisor(channels, k) for k in _several(slices)))


def _several(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
