"""Row errors: how far the sums of a layer are off with other weights, measured."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_prune.criteria.base import Reduction
from lightning_prune.criteria.patches import Patches, patches_of
from lightning_prune.criteria.precision import full_precision
from lightning_prune.criteria.sensitivity import Over, inverse, signed_parts
from lightning_prune.network.layers import Layer


class RowErrors:
    """Observes, at every call of a layer, how far its sums would be off with other weights.

    Arguments:
        pruned: By name of the layer, the other weights, of the same signs.
        patches: Over the patches of an image `mean` or `max`.

    Attributes:
        seen: By name of the layer, (filters, 2), the largest so far; see `row_errors`.
        samples: That reached a layer first in their forward, over all batches.
    """

    reduction: Reduction = "max"

    def __init__(self, pruned: Mapping[str, Tensor], patches: Over) -> None:
        self.pruned, self.patches = pruned, patches
        self.seen: dict[str, Tensor] = {}

    def observe(self, layer: Layer, value: Tensor) -> None:
        """Take in what the layer was called with."""
        found = row_errors(layer, value, self.pruned[layer.name], self.patches)
        before = self.seen.get(layer.name)
        self.seen[layer.name] = found if before is None else torch.maximum(before, found)


@torch.no_grad()
def row_errors(layer: Layer, value: Tensor, pruned: Tensor, patches: Over) -> Tensor:
    r"""The largest relative errors over samples of a layer's sums, by row and sign of the weight.

    With :math:`z` the sum of a row over its weights of one sign, for activations of one sign as
    in `sensitivity`, and :math:`\hat z` the same sum with other weights, it is
    :math:`|\hat z - z| / z`, in the mean or at most over the patches of a sample, and at most
    over samples and the signs of the activations. What counts as 0 there has no error here.

    Arguments:
        layer: Linear, or a convolution of any kind; with the weight it had before.
        value: What it was called with.
        pruned: The other weight, in the weight's shape and with its signs, or zeros.
        patches: `mean` or `max`.

    Returns:
        (filters, 2): for the positive and the negative weights of each row.
    """
    with full_precision(value.device.type):
        found = patches_of(layer, value)
        other = patches_of(layer, value[:0], weight=pruned)
        full, left = _signed(found), _signed(other)
        worst = full.new_zeros(full.shape[:2])
        for inputs in signed_parts(found.inputs) if found.inputs.numel() else ():
            sums = found.convolve(inputs, full)
            lost = (sums - found.convolve(inputs, left)).abs_()
            # rounding of the sum itself is no error of the pruning
            lost *= lost > 4 * torch.finfo(lost.dtype).eps * sums
            off = lost.mul_(inverse(sums))
            if found.kernel:
                flat = off.flatten(3)
                off = flat.mean(-1) if patches == "mean" else flat.amax(-1)
            torch.maximum(worst, off.amax(0), out=worst)
        positive, negative = worst.chunk(2, dim=1)
        return torch.stack([positive.flatten(), negative.flatten()], dim=1)


def _signed(layer: Patches) -> Tensor:
    """(groups, 2 filters / groups, ...): positive parts of all rows, then negative ones."""
    return torch.cat([layer.weight.clamp_min(0), layer.weight.neg().clamp_min_(0)], dim=1)
