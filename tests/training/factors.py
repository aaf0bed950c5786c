"""A structure that replaces parameters: low rank in blocks of columns, as two factors."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune.network.groups import Group, Slice
from lightning_prune.structures import Structure


class Factored(nn.Linear):
    """Maps blocks of inputs to `rank` numbers each with `right`, and those to outputs."""

    def forward(self, x):
        blocks, rank, inputs = self.right.shape
        inner = torch.einsum("nbi,bri->nbr", x.view(-1, blocks, inputs), self.right)
        return F.linear(inner.reshape(-1, blocks * rank), self.weight, self.bias)


def factor(layer, rank, blocks):
    parts = torch.stack(layer.weight.detach().chunk(blocks, dim=1))
    u, s, v = torch.linalg.svd(parts, full_matrices=False)
    left = u[:, :, :rank] * s[:, None, :rank]
    layer.weight = nn.Parameter(torch.cat(list(left), dim=1))
    layer.right = nn.Parameter(v[:, :rank].contiguous())
    layer.__class__ = Factored


def unfactor(layer):
    left = torch.stack(layer.weight.detach().chunk(len(layer.right), dim=1))
    layer.weight = nn.Parameter(torch.cat(list(left @ layer.right.detach()), dim=1))
    del layer.right
    layer.__class__ = nn.Linear


@dataclass(frozen=True)
class Ranks(Structure):
    """Unit j is the j-th singular direction of every block; variants differ in the blocks."""

    lasting: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    changes_parameters: ClassVar[bool] = True
    blocks: tuple[int, ...] = (1, 2)

    def groups(self, layers, graph):
        return [
            Group(
                layer.name,
                (layer,),
                (Slice(layer.name, layer.module, "weight"),),
                min(layer.module.out_features, layer.module.in_features // max(self.blocks)),
            )
            for layer in layers
        ]

    def variants(self, group):
        return [Ranks((count,)) for count in self.blocks]

    def units(self, layer, tensor):
        size = min(layer.module.out_features, layer.module.in_features // 2)
        parts = torch.stack(tensor.chunk(self.blocks[0], dim=1))
        _, s, v = torch.linalg.svd(parts, full_matrices=False)
        return (s[:, :, None] * v)[:, :size].transpose(0, 1).flatten(1)

    def cost(self, gains, measure):
        assert measure == "params"
        return sum(self.size(group, int(gain.count_nonzero())) for group, gain in gains.items())

    def size(self, group, rank):
        module = group.layers[0].module
        dense = module.out_features * module.in_features
        factored = rank * (self.blocks[0] * module.out_features + module.in_features)
        return min(factored, dense) if rank < group.size else dense

    def write(self, group, gain):
        layer, rank = group.layers[0].module, int(gain.count_nonzero())
        if self.size(group, rank) < layer.out_features * layer.in_features:
            factor(layer, rank, self.blocks[0])

    def restore(self, layer):
        if isinstance(layer.module, Factored):
            unfactor(layer.module)
