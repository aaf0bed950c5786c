"""Wanda: weights by the size of what they are multiplied with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from lightning_prune.criteria.base import ActivationCriterion
from lightning_prune.criteria.patches import patches_of
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure


@dataclass(frozen=True)
class Wanda(ActivationCriterion):
    r"""Weights and activations: :math:`|W_{ij}| \, \lVert A_j \rVert_2`.

    :math:`A_j` is what the entry is multiplied with, over all samples and positions: an input of a
    linear layer (tokens count one by one), a row of the unfolded input of a convolution. The
    paper compares within the rows of a layer, which is the allocation `UniformRows`; scores of
    different layers are not on one scale. Units of several entries have the sum.

    References:
        | A Simple and Effective Pruning Approach for Large Language Models (Sun et al., 2024)
        | https://arxiv.org/abs/2306.11695
    """

    def observe(self, layer: Layer, value: Tensor) -> None:
        """Add the squares of the inputs."""
        # float32 at least: squares leave the range of half precision
        wide = value if value.dtype == torch.float64 else value.float()
        self.record(layer, patch_sums(layer, wide.square()))

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): of each entry, summed over a unit."""
        sums = self.seen[layer.name]
        entries = layer.weight.abs().to(sums.dtype) * by_output(layer, sums).sqrt()
        units = structure.units(layer, entries)
        return units[:, 0] if units.shape[1] == 1 else units.sum(1)


def patch_sums(layer: Layer, values: Tensor) -> Tensor:
    """Sums over samples and positions of what every entry of the weight is multiplied with.

    One output of every group is enough, because all of a group are multiplied with the same.

    Arguments:
        layer: Linear or convolutional.
        values: Takes the place of the layer's input, in its shape.

    Returns:
        (1, inputs), or the weight's shape with one output a group.
    """
    found = patches_of(layer, values)
    entries = range(found.kernel.numel())
    sums = torch.stack([found.entry(index).sum(-1) for index in entries], -1)
    return found.as_weight(sums.view(len(sums), 1, -1, *found.kernel))


def by_output(layer: Layer, sums: Tensor) -> Tensor:
    """What `patch_sums` returned, in a shape that broadcasts to the weight's."""
    if layer.out_dim == 1 or not isinstance(layer.module, _ConvNd):
        return sums
    return sums.repeat_interleave(len(layer.weight) // layer.module.groups, 0)
