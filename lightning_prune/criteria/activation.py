"""Mean activation: how strongly a channel fires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.criteria.base import ActivationCriterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure
from lightning_prune.structures.channels import Channels


@dataclass(frozen=True)
class MeanActivation(ActivationCriterion):
    """Mean absolute activation of a layer's inputs, over samples and positions.

    A unit's score is the mean of what its entries are multiplied with. Activations of either sign
    count by their size, which behind a rectifier is the mean itself.

    Not to be confused with `Wanda`, which multiplies with the weights.

    References:
        | Pruning Convolutional Neural Networks for Resource Efficient Inference
        | (Molchanov et al., 2017), https://arxiv.org/abs/1611.06440
    """

    needs: ClassVar[type[Structure]] = Channels

    def observe(self, layer: Layer, value: Tensor) -> None:
        """Add the sums of the inputs, and behind them how many were added."""
        spatial = layer.weight.dim() - 2
        channels = value.abs().movedim(-1 - spatial, 0).flatten(1)
        # float64: sums over many batches, which other orders of them leave as they are
        count = channels.new_full((1,), channels.shape[1], dtype=torch.float64)
        self.record(layer, torch.cat([channels.sum(1, dtype=torch.float64), count]))

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): the means."""
        seen = self.seen[layer.name]
        entries = by_input(layer, seen[:-1] / seen[-1])
        return structure.units(layer, entries).mean(1)


def by_input(layer: Layer, values: Tensor) -> Tensor:
    """In the weight's shape: the value of the input channel that an entry is multiplied with.

    Arguments:
        layer: Linear or convolutional, also grouped or transposed.
        values: (input channels,).
    """
    weight = layer.weight
    ones = [1] * (weight.dim() - 2)
    if layer.in_dim == 0:
        return values.view(-1, 1, *ones).expand(weight.shape)
    groups = int(getattr(layer.module, "groups", 1))
    apart = values.view(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return apart.view(*apart.shape, *ones).expand(weight.shape)
