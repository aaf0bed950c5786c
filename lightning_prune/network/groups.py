"""Groups: units that several tensors share, and the slices that belong to them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from lightning_prune.network.layers import Layer


@dataclass(frozen=True, eq=False)
class Slice:
    """The parts of one tensor that belong to the units of a group.

    Arguments:
        name: Qualified name of the module that holds the tensor.
        module: That module; the tensor is looked up at every use.
        tensor: Name of the tensor in it; statistics of norms are buffers, all else parameters.
        dim: Dimension that runs over units; None: the units are the entries themselves.
        units: (size of `dim`,) int64, the unit that owns each index, -1 where no unit of this
            group does. One map says offsets behind a concatenation, columns behind a flatten and
            interleaved streams alike. None with `dim=None`.
        positions: Multiply-adds per sample and entry of the tensor; 0 for norms and biases.
    """

    name: str
    module: nn.Module
    tensor: str
    dim: int | None = None
    units: Tensor | None = None
    positions: int = 0

    @property
    def parameter(self) -> nn.Parameter:
        """The live tensor."""
        return getattr(self.module, self.tensor)

    @property
    def makes(self) -> bool:
        """Rows of a layer's weight, which make the units; a depthwise layer's hand them on."""
        transposed = isinstance(self.module, _ConvTransposeNd)
        return self.positions > 0 and self.dim == int(transposed)


@dataclass(frozen=True, eq=False)
class Group:
    """Units that leave together from several tensors; a layer alone is a group of one.

    Arguments:
        name: Unique among the groups of a network and stable from run to run.
        layers: The layers whose scores count (the producers, when units are filters, and the
            readers, when they are channels).
        slices: Every tensor that shrinks when a unit goes: weight, bias, norm, readers' columns.
        size: Number of units.
        follows: Groups without layers of their own, whose units leave when this group and others
            leave them nothing to read or nobody who reads them.
    """

    name: str
    layers: tuple[Layer, ...]
    slices: tuple[Slice, ...]
    size: int
    follows: tuple[Group, ...] = ()


def alone(layer: Layer, size: int) -> Group:
    """A layer as a group of its own, whose units lie in its one tensor as the structure says."""
    part = Slice(layer.name, layer.module, layer.tensor, positions=layer.positions)
    return Group(layer.name, (layer,), (part,), size)
