"""Taylor: the squared change of the loss, to first order, without a filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lightning_prune.criteria.base import GradientCriterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure
from lightning_prune.structures.filters import Filters


@dataclass(frozen=True)
class Taylor(GradientCriterion):
    r"""Importance of filters: :math:`E_b |\sum_s w_s g_s^{(b)}|^p` over mini-batches b.

    The sum runs over the weights of the filter: to first order it is what the loss of the
    mini-batch changes by when the filter is removed; by linearity it is also the product of the
    filter's output and its gradient, summed over samples and positions, which the earlier paper
    averages. Unlike SNIP's, the powers of mini-batches do not cancel, so that it tells filters
    apart near a minimum, too. The mini-batches are part of the definition: of their size depends
    how much noise is in the score.

    The network is in eval mode, in which a norm is a scale and a shift. In train mode the sum is
    0 for every filter that a norm reads, because scaling such a filter changes nothing.

    References:
        | Pruning Convolutional Neural Networks for Resource Efficient Inference
        | (Molchanov et al., 2017), https://arxiv.org/abs/1611.06440
        | Importance Estimation for Neural Network Pruning (Molchanov et al., 2019)
        | https://arxiv.org/abs/1906.10771

    Arguments:
        power: 2 is the later paper's, 1 the earlier one's.

    Raises:
        ValueError: The power is not positive.
    """

    power: float = 2.0
    mode: ClassVar = "eval"
    needs: ClassVar[type[Structure]] = Filters

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise ValueError(f"Taylor needs a positive power, not {self.power!r}.")

    def observe(self, layer: Layer, value: Tensor, samples: int = 1) -> None:
        """Add the filters' contributions in one batch, weighted by its samples."""
        products = (layer.weight.to(value.dtype) * value).movedim(layer.out_dim, 0)
        self.record(layer, products.flatten(1).sum(1).abs().pow(self.power) * samples)

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(filters,): sums over the samples."""
        return self.seen[layer.name]
