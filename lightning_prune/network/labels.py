"""Labels: one number for every index of every parameter, and which of them are the same unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lightning_prune.network.layers import PRUNABLE, plain_name

FREE = -1  # a constant, the same whatever the channel: fits any number of channels
FOREIGN = -2  # a channel that no parameter of the network made: has to stay
LARGEST = 1 << 18  # longer dimensions (tables, stored data) are no channels and stay unlabelled
LAZY = (nn.UninitializedParameter, nn.UninitializedBuffer)

Ids = np.ndarray  # (size of a dimension,) int64 of labels, FREE or FOREIGN
Dims = tuple[Ids | None, ...]  # one entry a dimension; None: batch, space, anything unlabelled


@dataclass(frozen=True, eq=False)
class Held:
    """A parameter or buffer, where it lives and its label of every index.

    Arguments:
        name: Qualified name of the module that holds it, wrappers of `torch.compile` left out.
        module: That module.
        tensor: Its name in the module.
        value: The tensor.
        dims: Labels by dimension; None for the kernel's places of a convolution.
        layer: It is the weight of a linear or convolutional layer.
    """

    name: str
    module: nn.Module
    tensor: str
    value: Tensor
    dims: Dims
    layer: bool

    @property
    def qualified(self) -> str:
        """Name of module and tensor."""
        return f"{self.name}.{self.tensor}" if self.name else self.tensor


class Labels:
    """Which labels belong to one unit, and which have to stay.

    A tensor under several names is labelled once, under the first.

    Arguments:
        model: Its parameters and buffers get labels; lazy and sparse ones get none.
    """

    def __init__(self, model: nn.Module) -> None:
        self.held: list[Held] = []
        self.pins: dict[int, str] = {}  # label -> why it has to stay
        self.made: set[tuple[int, int]] = set()  # label of an output, and the weight that made it
        self.read: set[int] = set()  # labels over which a product with a parameter sums
        owners: list[tuple[int, int, int]] = []
        seen: set[int] = set()
        for module_name, module in model.named_modules():
            for tensor_name, value in _own_tensors(module):
                if id(value) in seen:
                    continue
                seen.add(id(value))
                is_layer = isinstance(module, PRUNABLE) and tensor_name == "weight"
                dims: list[Ids | None] = []
                for dim, size in enumerate(value.shape):
                    if (is_layer and dim > 1) or size > LARGEST:
                        dims.append(None)
                        continue
                    dims.append(np.arange(len(owners), len(owners) + size, dtype=np.int64))
                    owners += [(len(self.held), dim, index) for index in range(size)]
                name = plain_name(module_name)
                self.held.append(Held(name, module, tensor_name, value, tuple(dims), is_layer))
        self.owners = np.array(owners, dtype=np.int64).reshape(-1, 3)  # held, dim, index
        self._parent = list(range(len(owners)))
        self._tied: set[tuple[bytes, bytes]] = set()

    def __len__(self) -> int:
        return len(self._parent)

    def root(self, label: int) -> int:
        """The label that stands for all labels of the same unit."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self) -> Ids:
        """(labels,) the root of every label."""
        return np.fromiter((self.root(i) for i in range(len(self))), np.int64, len(self))

    def pin(self, ids: Ids | None, reason: str) -> None:
        """Say that these labels have to stay; the first reason is kept."""
        if ids is not None:
            for label in np.unique(ids[ids >= 0]).tolist():
                self.pins.setdefault(label, reason)

    def merge(self, first: Ids | None, second: Ids | None, reason: str) -> Ids | None:
        """The labels of a dimension that two tensors share; index by index they are one unit.

        Where one of them is unlabelled, the other's labels have to stay, for that reason.
        """
        if first is None or second is None:
            known = second if first is None else first
            self.pin(known, reason)
            return None
        key = (first.tobytes(), second.tobytes())
        if key not in self._tied:  # a field that a solver calls a thousand times is tied once
            self._tied.add(key)
            both = (first >= 0) & (second >= 0)
            for a, b in zip(first[both].tolist(), second[both].tolist(), strict=True):
                self._parent[self.root(b)] = self.root(a)
            self.pin(first[second == FOREIGN], reason)
            self.pin(second[first == FOREIGN], reason)
        merged = np.where(first >= 0, first, second)
        merged[(first == FOREIGN) | (second == FOREIGN)] = FOREIGN
        return merged

    def join(self, grid: Ids, reason: str) -> None:
        """Make one unit of every row of labels; it stays, for that reason, with a foreign one.

        Constants are of no unit: what leaves takes them along.
        """
        key = (grid.tobytes(), str(grid.shape).encode())
        if key in self._tied:
            return
        self._tied.add(key)
        for row in grid.tolist():
            first = max(row)
            for label in row:
                if label >= 0:
                    self._parent[self.root(label)] = self.root(first)
        self.pin(grid[(grid == FOREIGN).any(1)], reason)


def free(size: int) -> Ids:
    """(size,) labels of a constant."""
    return np.full(size, FREE, np.int64)


def foreign(size: int) -> Ids:
    """(size,) labels of channels that have to stay."""
    return np.full(size, FOREIGN, np.int64)


def is_free(ids: Ids | None) -> bool:
    """Whether nothing but constants is in the dimension."""
    return ids is not None and bool((ids == FREE).all())


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for tensors in (module._parameters, module._buffers):
        for name, value in tensors.items():
            if isinstance(value, LAZY) or value is None or value.layout != torch.strided:
                continue
            yield name, value
