"""Weights: every entry of a layer is a unit of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from lightning_prune.network.counting import count_nonzero
from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.layers import Layer
from lightning_prune.structures import clean
from lightning_prune.structures.base import Mask, Measure
from lightning_prune.structures.extent import along, extent

if TYPE_CHECKING:
    from lightning_prune.network.graph import Graph


@dataclass(frozen=True)
class Weights(Mask):
    """Unstructured pruning: single weights. The budget is met to one weight.

    Zeros save storage and, on dense kernels, no time.

    Arguments:
        clean: Neurons and filters that are left without a non-zero input or output go as well,
            with their biases, their entries of norms and their other weights, which then count
            as removed: `keep` reaches below the share of the biases. What a neuron without input
            passed on is added to the biases of its readers where that is exact; see
            `lightning_prune.fold`. Which units there are is traced; layers
            whose units cannot be followed keep them. The budget is met to one weight and what
            leaves with it.
    """

    clean: bool = False

    @property
    def additive(self) -> bool:
        """Every weight has a price, unless what it leaves behind goes with it."""
        return not self.clean

    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """One group a layer; the graph is asked for only to clean."""
        following: list[Group] = []
        if self.clean:
            following = clean.followers(graph().groups(layers))
            layers = graph().traced(layers)
        return [
            Group(
                layer.name,
                (layer,),
                (Slice(layer.name, layer.module, layer.tensor, positions=layer.positions),),
                layer.weight.numel(),
                tuple(group for group in following if clean.holds(group, layer)),
            )
            for layer in layers
        ]

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        """(entries, 1), in the order of the flattened tensor."""
        return tensor.reshape(-1, 1)

    def price(self, group: Group, measure: Measure) -> int:
        """1 parameter, or as many multiply-adds as the weight is applied at positions."""
        return 1 if measure == "params" else group.layers[0].positions

    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """Weights that are left, or their multiply-adds per sample.

        With `clean` also the biases, norms and scales that lie on the units, where those live.
        """
        settled = self.settle(gains)
        weights = sum(
            count_nonzero(gain) * self.price(group, measure)
            for group, gain in settled.items()
            if group.layers
        )
        if measure == "macs":
            return weights
        return weights + extent(_beside(settled), "params")

    def settle(self, gains: Mapping[Group, Tensor]) -> dict[Group, Tensor]:
        """With `clean`: dead units out, and the groups that follow said alive or dead."""
        return clean.settle(gains) if self.clean else dict(gains)

    def factors(self, group: Group, gain: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The weight, and the gains in its shape; of a group that follows, what lies beside."""
        if group.layers:
            parameter = group.layers[0].parameter
            yield parameter, gain.view(parameter.shape)
            return
        for part in group.slices:
            if _lies_beside(part):
                yield part.parameter, along(part, gain)


def _lies_beside(part: Slice) -> bool:
    """A bias, norm or scale: the weights of layers have gains of their own."""
    return part.positions == 0 and isinstance(part.parameter, nn.Parameter)


def _beside(gains: Mapping[Group, Tensor]) -> dict[Group, Tensor]:
    return {
        Group(group.name, (), tuple(filter(_lies_beside, group.slices)), group.size): gain
        for group, gain in gains.items()
        if not group.layers
    }
