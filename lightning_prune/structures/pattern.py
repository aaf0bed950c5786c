"""Patterns: n of every m consecutive weights along a layer's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_prune.network.counting import count_nonzero
from lightning_prune.network.groups import Group, alone
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Mask, Measure

if TYPE_CHECKING:
    from lightning_prune.network.graph import Graph


@dataclass(frozen=True)
class Pattern(Mask):
    """N:M sparsity: of every m consecutive weights along the inputs, n stay.

    A unit is a single weight; which ones stay is the business of the allocation `Patterned`. In a
    linear layer (out, in) a block is m inputs of one output. In a convolution (out, in, height,
    width) it is m input channels of one output at one place of the kernel: the order in which
    sparse kernels read a channels-last weight as (out, height * width * in). Blocks never cross
    the groups of a grouped convolution. Layers whose inputs (per group) are no multiple of m stay
    dense and are named in the report's notes; depthwise layers are among them.

    The zeros are in plain weights; a kernel for the pattern takes the weight as it is.

    References:
        | Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch (Zhou et al.,
          2021)
        | https://arxiv.org/abs/2102.04010
        | Accelerating Sparse Deep Neural Networks (Mishra et al., 2021)
        | https://arxiv.org/abs/2104.08378

    Arguments:
        n: Weights of a block that stay.
        m: Weights of a block.

    Raises:
        ValueError: Not 0 < n < m, in whole numbers.
    """

    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        if self.n % 1 != 0 or self.m % 1 != 0 or not 0 < self.n < self.m:
            raise ValueError(
                f"Pattern keeps n of every m weights, whole numbers with 0 < n < m, not "
                f"n={self.n}, m={self.m}."
            )

    @property
    def additive(self) -> bool:
        """Every weight has a price."""
        return True

    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """One group a layer that divides into blocks.

        Raises:
            ValueError: None does.
        """
        fitting = [layer for layer in layers if _inputs(layer) % self.m == 0]
        if not fitting:
            raise ValueError(
                f"No layer divides into blocks of {self.m} inputs ("
                + "; ".join(f"{name}: {why}" for name, why in self._dense(layers).items())
                + "); choose another m or other layers."
            )
        return [alone(layer, layer.weight.numel()) for layer in fitting]

    def refused(self, layers: list[Layer], graph: Callable[[], Graph]) -> dict[str, str]:
        """Layers that do not divide into blocks."""
        return self._dense(layers)

    def _dense(self, layers: list[Layer]) -> dict[str, str]:
        return {
            layer.name: f"its {_inputs(layer)} inputs are no multiple of {self.m}"
            for layer in layers
            if _inputs(layer) % self.m
        }

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        """(entries, 1), in the order of the flattened tensor."""
        return tensor.reshape(-1, 1)

    def blocks(self, layer: Layer, values: Tensor) -> Tensor:
        """(blocks, m) from (entries,) in the order of `units`."""
        inner = values.reshape(layer.weight.shape).movedim(layer.in_dim, -1)
        return inner.reshape(-1, self.m)

    def entries(self, layer: Layer, blocks: Tensor) -> Tensor:
        """(entries,) in the order of `units` from (blocks, m); the inverse of `blocks`."""
        shape = layer.weight.movedim(layer.in_dim, -1).shape
        return blocks.reshape(shape).movedim(-1, layer.in_dim).reshape(-1)

    def price(self, group: Group, measure: Measure) -> int:
        """1 parameter, or as many multiply-adds as the weight is applied at positions."""
        return 1 if measure == "params" else group.layers[0].positions

    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """Weights that are left, or their multiply-adds per sample."""
        return sum(count_nonzero(v) * self.price(group, measure) for group, v in gains.items())

    def factors(self, group: Group, gain: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The weight, and the gains in its shape."""
        parameter = group.layers[0].parameter
        yield parameter, gain.view(parameter.shape)


def _inputs(layer: Layer) -> int:
    """Inputs of one output: those of its group."""
    size = layer.weight.shape[layer.in_dim]
    # the weight of a transposed convolution lists the inputs of all groups
    return size if layer.in_dim else size // getattr(layer.module, "groups", 1)
