"""Response ranks: directions of a layer's responses to data, in the place of the weight's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_prune.lowrank import factorise
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure
from lightning_prune.structures.ranks import Ranks


@dataclass(frozen=True, eq=False)
class ResponseRanks(Ranks):
    r"""Low rank whose units are directions of responses, found by a criterion for one event.

    With U the kept directions and :math:`P = U U^T` a response :math:`y = W x + b` becomes
    :math:`P (y - \bar y) + \bar y`: the encoder is :math:`U^T W`, the decoder U, scaled so that
    either has the same norm along each direction, and the bias

    .. math:: b + (I - P) (\bar y - b)

    A layer without a bias gets none, because the norm that mostly follows would undo it; its mean
    has to lie in the kept directions. Groups of a grouped layer have directions of their own.

    It is one object for one event and one layer, equal to itself only; see `Ranks` for the rest.

    References:
        | Accelerating Very Deep Convolutional Networks for Classification and Detection
          (Zhang et al., 2015)
        | https://arxiv.org/abs/1505.06798

    Arguments:
        bases: By name of the layer, (groups, rows, rows) orthonormal directions in columns, the
            most important first.
        energies: By name, (groups, rows) what the data have along them, descending.
        means: By name, (groups, rows) of the responses without the bias; only of layers that have
            a bias.
    """

    bases: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    energies: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    means: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def variants(self, group: Group) -> list[Structure]:
        """Itself: directions were found for one folding."""
        return [self]

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        r"""(full rank, groups * columns): :math:`U^T T`, the coordinates along the directions."""
        folding = self.folding(layer)
        basis = self._basis(layer)[:, :, : folding.full_rank]
        rows = basis.mT @ folding.matrices(tensor).to(basis)
        return rows.movedim(1, 0).flatten(1).to(tensor.dtype)

    @torch.no_grad()
    def write(self, group: Group, gain: Tensor) -> None:
        """Keep the directions with a gain, each scaled by it, and the mean of the responses."""
        (layer,) = group.layers
        if bool((gain == 1).all()):
            return
        folding, weight = self.folding(layer), layer.weight
        kept = gain.nonzero()[:, 0].to(weight.device)
        basis = self._basis(layer)[:, :, kept]
        gains = gain.to(basis)[kept]
        images = basis.mT @ folding.matrices(weight).to(basis)
        sizes = images.norm(dim=2)
        # a direction that the weight has nothing in keeps its decoder, so that it can be trained
        roots = torch.where(sizes > 0, (sizes * gains.abs()).sqrt(), 1.0)
        shares = roots / torch.where(sizes > 0, sizes, 1.0)
        encoder = folding.encoder(images * shares[:, :, None])
        decoder = folding.decoder(basis * (roots * gains.sign())[:, None, :])
        if layer.name in self.means:
            mean = self.means[layer.name].to(basis)[:, :, None]
            lost = mean - (basis * gains) @ (basis.mT @ mean)
            bias = layer.module._parameters["bias"]
            assert bias is not None
            bias.copy_(bias.to(lost) + lost.flatten())
        factors = (part.to(weight.dtype).contiguous() for part in (encoder, decoder))
        factorise(layer.module, folding, *factors)

    def _basis(self, layer: Layer) -> Tensor:
        return self.bases[layer.name].to(layer.weight.device)
