"""Filters: whole outputs of layers, with everything in the network that goes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Mask, Measure
from lightning_prune.structures.clean import hands_on
from lightning_prune.structures.extent import along, extent
from lightning_prune.structures.reduction import (
    Reduction,
    check_reduction,
    check_rounding,
    reduced,
)

if TYPE_CHECKING:
    from lightning_prune.network.graph import Graph


@dataclass(frozen=True)
class Filters(Mask):
    """Filters and neurons: a unit is an output and everything that lives on it.

    The rows that make it in every layer that shares it (residual additions, depthwise
    convolutions), their biases, its entries of norms and scales, and the columns of every layer
    that reads it leave together. Then the non-zeros of the masked network, the parameters of a
    network really built without the units, and the cost are one number, and both networks
    compute the same.

    A gain other than 0 and 1 rescales the rows and biases of the layers that make the unit,
    once: a depthwise layer hands the scale on with its rows as they are, readers' columns and
    norms too. The unit's output is scaled alike where what lies between layer and reader is
    positively homogeneous (rectifiers, pooling); a norm in between undoes it in training.

    Not to be confused with zeroing rows alone, after which biases, norms and activations with
    f(0) != 0 still speak to the readers.

    Arguments:
        reduction: One score from those of all filters in a unit: the root of the sum of squares,
            the sum or the maximum. Scores are non-negative for the first.
        round_to: Units of a group stay and leave in blocks of so many, by the means of their keys:
            a width is a multiple of it, or what it was. Kernels are often faster at multiples
            of 8 or 16.
    """

    reduction: Reduction = "rss"
    round_to: int = 1
    structured: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_reduction(self.reduction, "Filters")
        check_rounding(self.round_to, "Filters")

    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """The units of the traced network that only `layers` make.

        Raises:
            ValueError: No filter of any layer can be removed; every layer is named with why.
        """
        found = graph().groups(layers)
        if not found:
            reasons = "; ".join(f"{n}: {why}" for n, why in graph().refused(layers).items())
            raise ValueError(f"No filter of these layers can be removed ({reasons}).")
        return found

    def refused(self, layers: list[Layer], graph: Callable[[], Graph]) -> dict[str, str]:
        """What of the traced network cannot leave."""
        return graph().refused(layers)

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        """(filters, entries of one): rows along the layer's outputs."""
        return tensor.movedim(layer.out_dim, 0).flatten(1)

    def combine(self, group: Group, scores: Mapping[str, Tensor]) -> Tensor:
        """(group.size,): one score a unit from the (filters,) of every layer that makes it."""
        axes = {layer.name: layer.out_dim for layer in group.layers}
        return reduced(group, scores, axes, self.reduction)

    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """Exactly what a network built without the units has; see `extent`."""
        return extent(gains, measure)

    def factors(self, group: Group, gain: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every parameter that holds a part of the units, and the gains along its dimension."""
        scaled = {id(layer.module) for layer in group.layers if not hands_on(layer)}
        passed = {id(layer.module) for layer in group.layers if hands_on(layer)}
        flags = (gain != 0).to(gain.dtype)
        for part in group.slices:
            if not isinstance(part.parameter, nn.Parameter):
                continue  # statistics follow on export; a zero scale silences them until then
            makes = id(part.module) in scaled and _makes(group, part)
            shifts = id(part.module) in scaled | passed and part.tensor == "bias"
            yield part.parameter, along(part, gain if makes or shifts else flags)


def _makes(group: Group, part: Slice) -> bool:
    return any(_row_of(part, layer) for layer in group.layers)


def _row_of(part: Slice, layer: Layer) -> bool:
    same = part.module is layer.module and part.tensor == layer.tensor
    return same and part.dim == layer.out_dim
