"""Channels: the units of filters, seen from the layers that read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

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
class Channels(Mask):
    """Input channels: the units of `Filters`, scored by the layers that read them.

    What leaves together is the same: rows that make the unit, biases, norms, and the columns of
    every reader. So are cost and thinned network. What differs is whose weights count: a layer's
    units are its inputs, and a criterion scores its columns. The inputs of the network are no
    units, and a unit that none of the prunable layers reads stays.

    A unit may be several columns of a reader (behind a flatten) and has several readers (behind
    an addition or a concatenation). Depthwise layers hand a unit on and do not score it. Groups
    have the names of the layers that make them.

    A gain other than 0 and 1 rescales the columns of all readers, once; rows, biases and norms
    stay as they are, so that the readers' outputs are sums of gain * what they were for any
    activation in between.

    Not to be confused with filters that a layer's own weights score.

    Arguments:
        reduction: One score from those of all columns of a unit: the root of the sum of squares,
            the sum or the maximum. Scores are non-negative for the first.
        round_to: Units of a group stay and leave in blocks of so many, by the means of their keys:
            a width is a multiple of it, or what it was. Kernels are often faster at multiples
            of 8 or 16.
    """

    reduction: Reduction = "rss"
    round_to: int = 1
    structured: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_reduction(self.reduction, "Channels")
        check_rounding(self.round_to, "Channels")

    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """The units of the traced network that only `layers` make and one of them reads.

        Raises:
            ValueError: No channel of any layer can be removed; every layer is named with why.
        """
        found = [
            dataclasses.replace(group, layers=readers)
            for group in graph().groups(layers)
            if (readers := tuple(layer for layer in layers if _reads(group, layer)))
        ]
        if not found:
            refused = graph().refused(layers) or {"their outputs": "no prunable layer reads them"}
            reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
            raise ValueError(f"No input channel of these layers can be removed ({reasons}).")
        return found

    def refused(self, layers: list[Layer], graph: Callable[[], Graph]) -> dict[str, str]:
        """Inputs of the network, and outputs that cannot leave their layer."""
        parts = [part for group in self.groups(layers, graph) for part in group.slices]
        refused = {}
        for layer in layers:
            if hands_on(layer) and any(_is_row(part, layer) for part in parts):
                continue  # whole groups of channels, inputs and outputs at once
            count = len(self.units(layer, layer.weight))
            left = count - sum(
                int((part.units >= 0).sum())
                for part in parts
                if part.units is not None and _is_input(part, layer)
            )
            if left:
                refused[layer.name] = (
                    f"{left} of {count} are inputs of the network or are made by layers that keep "
                    "their outputs"
                )
        return refused

    def axis(self, layer: Layer) -> int:
        """The layer's inputs."""
        return layer.in_dim

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        """(input channels, entries of one): columns along the layer's inputs.

        A grouped convolution, whose weight is (out, in / groups, ...), has as many units as
        input channels, each with the rows of its own group.
        """
        groups = getattr(layer.module, "groups", 1)
        columns = tensor.movedim((layer.in_dim, layer.out_dim), (0, 1))
        if groups == 1 or isinstance(layer.module, _ConvTransposeNd):
            return columns.flatten(1)
        apart = columns.unflatten(1, (groups, -1)).movedim(1, 0)  # (groups, in / groups, out / ...)
        return apart.flatten(0, 1).flatten(1)

    def combine(self, group: Group, scores: Mapping[str, Tensor]) -> Tensor:
        """(group.size,): one score a unit from the (input channels,) of every reader."""
        axes = {layer.name: layer.in_dim for layer in group.layers}
        return reduced(group, scores, axes, self.reduction)

    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """Exactly what a network built without the units has; see `extent`."""
        return extent(gains, measure)

    def factors(self, group: Group, gain: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every parameter that holds a part of the units, and the gains along its dimension."""
        flags = (gain != 0).to(gain.dtype)
        for part in group.slices:
            if isinstance(part.parameter, nn.Parameter):
                yield part.parameter, along(part, gain if _is_read(part) else flags)


def _reads(group: Group, layer: Layer) -> bool:
    return not hands_on(layer) and any(_is_input(part, layer) for part in group.slices)


def _is_input(part: Slice, layer: Layer) -> bool:
    same = part.module is layer.module and part.tensor == layer.tensor
    return same and part.dim == layer.in_dim


def _is_row(part: Slice, layer: Layer) -> bool:
    """Of a grouped layer, whose first dimension runs over groups, transposed or not."""
    return part.module is layer.module and part.tensor == layer.tensor and part.dim == 0


def _is_read(part: Slice) -> bool:
    """Columns of a reader, prunable or not: a reader that is left out is rescaled with the rest."""
    if part.positions == 0 or getattr(part.module, "groups", 1) > 1:
        return False
    return not part.makes
