"""Contributions: what every input channel of a layer adds to its outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_prune.criteria.patches import patches_of
from lightning_prune.network.layers import Layer


def contribution_gram(layer: Layer, value: Tensor) -> Tensor:
    r"""(channels, channels) float64: inner products of the channels' contributions.

    Channel c adds :math:`x_{t,c} = \sum_k W_{i,c,k} A_{c,k,p}` to the output t: filter i at the
    position p of a sample. G = X^T X is summed over all outputs, all positions and all samples,
    none is drawn. The sum over filters and that over positions come apart,

    .. math:: G_{c,c'} = \sum_{k,k'} (A_k A_{k'}^T)_{c,c'} (W_k^T W_{k'})_{c,c'}

    so that X, which has a row for every output, is never made. The bias is no contribution; the
    means are left in.

    With C channels, K places of the kernel, N positions of all samples and F filters it costs
    C^2 (K (K + 1) / 2) (N + F) multiply-adds, C (K + 1) / 2F of a forward where N is large, and
    the memory of two unfolded places. Channels of different groups of a convolution have no
    output in common, and 0.

    Arguments:
        layer: Linear or convolutional, of any dimension, also grouped or transposed.
        value: What it is called with.
    """
    found = patches_of(layer, value, torch.float64)
    weight = found.weight.reshape(*found.weight.shape[:3], -1)
    total = weight.new_zeros(weight.shape[0], weight.shape[2], weight.shape[2])
    with torch.autocast(value.device.type, enabled=False):
        for first in range(weight.shape[-1]):
            one = found.entry(first)
            for second in range(first, weight.shape[-1]):
                inputs = one @ (one if second == first else found.entry(second)).mT
                part = inputs * (weight[..., first].mT @ weight[..., second])
                total += part if second == first else part + part.mT
    return torch.block_diag(*total)
