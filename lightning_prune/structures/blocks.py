"""Blocks: rectangular tiles of a weight as a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_prune.network.groups import Group, alone
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Mask, Measure

if TYPE_CHECKING:
    from lightning_prune.network.graph import Graph


@dataclass(frozen=True)
class Blocks(Mask):
    """Tiles of rows x columns weights that leave together.

    A weight is read as a matrix of outputs by (inputs * places of the kernel), in the order of
    the tensor, and cut into tiles from its first entry. Where sizes do not divide, the last tiles
    are smaller. Every entry counts, so the cost is exact.

    A smaller tile has a smaller norm for no other reason than its size, and a smaller price. Its
    coordinates are therefore scaled by the root of (full size / true size): sums of squares and
    of products compare as means per entry, and among tiles of equal mean none leaves before the
    others for lying at an edge. For norms of another order than 2 that holds in part.

    References:
        | Block-Sparse Recurrent Neural Networks (Narang et al., 2017)
        | https://arxiv.org/abs/1711.02782

    Arguments:
        rows: Outputs of a tile.
        columns: Inputs, times places of the kernel, of a tile.

    Raises:
        ValueError: One of them is not a positive whole number.
    """

    rows: int = 4
    columns: int = 4

    def __post_init__(self) -> None:
        for size in (self.rows, self.columns):
            if size < 1 or size % 1 != 0:  # the rest of an infinite size is not a number
                raise ValueError(
                    "Blocks takes positive whole numbers of rows and columns, not "
                    f"rows={self.rows}, columns={self.columns}."
                )

    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """One group a layer; the graph is not asked for."""
        return [alone(layer, math.prod(self._tiles(layer))) for layer in layers]

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        """(tiles, rows * columns), tile after tile along the outputs' rows.

        Zeros stand where an edge tile has no entry.
        """
        down, across = self._tiles(layer)
        matrix = tensor.movedim(layer.out_dim, 0).flatten(1)
        below, beside = down * self.rows - len(matrix), across * self.columns - matrix.shape[1]
        padded = F.pad(matrix, (0, beside, 0, below))
        tiles = padded.view(down, self.rows, across, self.columns).transpose(1, 2).flatten(2)
        heights, widths = self._sizes(layer)
        full = self.rows * self.columns
        scale = (full / (heights[:, None] * widths)).sqrt().to(tiles)
        return (tiles * scale[..., None]).flatten(0, 1)

    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """True entries of the tiles that are left, or their multiply-adds per sample."""
        total = 0
        for group, gain in gains.items():
            (layer,) = group.layers
            heights, widths = (sizes.to(gain.device) for sizes in self._sizes(layer))
            flags = (gain != 0).view(len(heights), len(widths)).double()
            entries = round(float(heights @ flags @ widths))  # float64 counts up to 2 ** 53
            total += entries * (1 if measure == "params" else layer.positions)
        return total

    def factors(self, group: Group, gain: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The weight, and the gains of the tiles on their entries."""
        (layer,) = group.layers
        parameter = layer.parameter
        outer = parameter.shape[layer.out_dim]
        spread = gain.view(self._tiles(layer)).repeat_interleave(self.rows, 0)[:outer]
        inner = parameter.numel() // outer
        spread = spread.repeat_interleave(self.columns, 1)[:, :inner]
        shape = layer.weight.movedim(layer.out_dim, 0).shape
        yield parameter, spread.reshape(shape).movedim(0, layer.out_dim)

    def _tiles(self, layer: Layer) -> tuple[int, int]:
        """Tiles along the outputs, and along the rest."""
        outer = layer.weight.shape[layer.out_dim]
        inner = layer.weight.numel() // outer
        return math.ceil(outer / self.rows), math.ceil(inner / self.columns)

    def _sizes(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """float64 true heights of the tiles along the outputs, and widths along the rest."""
        outer = layer.weight.shape[layer.out_dim]
        return _cut(outer, self.rows), _cut(layer.weight.numel() // outer, self.columns)


def _cut(total: int, size: int) -> Tensor:
    sizes = torch.full((math.ceil(total / size),), float(size), dtype=torch.float64)
    sizes[-1] = total - size * (len(sizes) - 1)
    return sizes
