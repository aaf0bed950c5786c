"""Sensitivities: the share of an edge in what a neuron sums, at most, over samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from lightning_prune.criteria.max_product import max_product
from lightning_prune.criteria.patches import Patches, patches_of
from lightning_prune.criteria.precision import full_precision
from lightning_prune.network.layers import Layer

Over = Literal["mean", "max"]
Kernel = Literal["max", "sum"]

FLOOR = 1e-6  # of a row's largest sum: what is smaller is roundoff beside it


@torch.no_grad()
def sensitivity(layer: Layer, value: Tensor, patches: Over, kernel: Kernel, memory: int) -> Tensor:
    r"""Sensitivities of the weights of a layer to one call of it.

    Weights and activations are split by sign, so that nothing cancels: for signs
    :math:`\sigma, \tau` the sum of row i at patch p is
    :math:`z_{ip} = \sum_j W^\sigma_{ij} A^\tau_{jp} \ge 0`, without the bias, and the share of
    weight j in it :math:`g_{ijp} = W^\sigma_{ij} A^\tau_{jp} / z_{ip}`. The sensitivity is the
    mean or the maximum of g over the patches of a sample, and the maximum of that over samples
    and :math:`\tau`. Sums below 1e-6 of the largest of their row and sample count as 0, and so do
    their shares.

    The mean needs neither patches nor a loop over filters: with :math:`R = 1/z`,
    :math:`\sum_p R_{ip} A_{jp}` is the gradient with respect to the weight of a convolution
    whose outputs have the gradient R.

    Arguments:
        layer: Linear, or a convolution of any kind.
        value: What the layer was called with.
        patches: `mean` or `max`.
        kernel: `sum` gives every weight the share of its whole kernel, the positions of one
            input channel together; `max` that of the weight alone.
        memory: Bytes for unfolded patches and products; the mean of convolutions needs none.

    Returns:
        In the weight's shape, in [0, 1], at least float32.

    References:
        | SiPPing Neural Networks: Sensitivity-informed Provable Pruning of Neural Networks
          (Baykal et al., 2019)
        | https://arxiv.org/abs/1910.05422
    """
    with full_precision(value.device.type):
        found = patches_of(layer, value)
        shares = _Shares(found, patches, kernel == "sum" and bool(found.kernel), memory)
        for inputs in signed_parts(found.inputs) if found.inputs.numel() else ():
            shares.observe(inputs)
        return found.as_weight(shares.joined())


def signed_parts(inputs: Tensor) -> Iterator[Tensor]:
    """Positive and negative parts of (samples, ...), each sample in scale.

    A sign that is absent is left out and costs nothing.
    """
    flat = inputs.flatten(1)
    low, high = flat.amin(1), flat.amax(1)  # each is several times faster than both in one
    scale = _power_of_two(torch.maximum(high, -low))
    scaled = inputs * scale.view(-1, *[1] * (inputs.dim() - 1))
    signed = bool((low < 0).any())
    if not bool((high <= 0).all()):  # NaN is neither, and has to be seen
        yield scaled.clamp_min(0) if signed else scaled
    if signed:
        yield scaled.neg_().clamp_min_(0)


class _Shares:
    """The largest shares so far in the sums of one layer.

    Arguments:
        layer: The layer and its input.
        patches: `mean` or `max`.
        joint: Shares of whole kernels.
        memory: Bytes for unfolded patches and products.
    """

    def __init__(self, layer: Patches, patches: Over, joint: bool, memory: int) -> None:
        self.layer, self.patches, self.joint = layer, patches, joint
        # (groups, 2 filters / groups, ...): positive parts of all rows, then negative ones
        weight = layer.weight
        peak = weight.abs().flatten(2).amax(-1)
        scaled = weight * _power_of_two(peak).view(*peak.shape, *[1] * (weight.dim() - 2))
        self.weight = torch.cat([scaled.clamp_min(0), scaled.neg().clamp_min_(0)], dim=1)
        # divided by the weight where shares are of single weights
        self.largest = torch.zeros_like(self.weight.flatten(3).sum(3) if joint else self.weight)
        self.numbers = max(1, memory // self.weight.element_size() // 2)

    def observe(self, inputs: Tensor) -> None:
        """Take in non-negative inputs, (samples, channels, *size)."""
        rates = inverse(self.layer.convolve(inputs, self.weight))
        if not self.layer.kernel:
            points = inputs.t()[None], rates[:, 0].t()[None]
            max_product(self.largest, points[1], points[0], self.numbers)
        elif self.patches == "mean":
            self._mean(inputs, rates)
        else:
            for sample, rate in zip(inputs, rates, strict=True):
                self._max(sample, rate)

    def _mean(self, inputs: Tensor, rates: Tensor) -> None:
        rates.div_(self.layer.positions.numel())
        # sample by sample: a score then does not depend on the size of a batch
        for sample, rate in zip(inputs.split(1), rates.split(1), strict=True):
            found = self.layer.correlate(sample, rate, self.weight)
            if self.joint:
                found = found.mul_(self.weight).flatten(3).sum(3)
            torch.maximum(self.largest, found, out=self.largest)

    def _max(self, sample: Tensor, rate: Tensor) -> None:
        for channels, rows, patches in self.layer.windows(sample, self.numbers):
            rates = rate[:, :, rows].flatten(2)
            if self.joint:
                self._max_of_kernels(channels, patches, rates)
                continue
            entries = self.layer.kernel.numel()
            columns = slice(channels.start * entries, channels.stop * entries)
            largest = self.largest.flatten(2)[:, :, columns]
            max_product(largest, rates, patches.flatten(1, 2), self.numbers)

    def _max_of_kernels(self, channels: slice, patches: Tensor, rates: Tensor) -> None:
        weight = self.weight[:, :, channels].flatten(3).transpose(1, 2)  # channels, then rows
        high = max(1, self.numbers // (patches.numel() // patches.shape[2]))
        for row in range(0, weight.shape[2], high):
            r = slice(row, row + high)
            parts = (weight[:, :, r] @ patches).mul_(rates[:, None, r]).amax(-1)
            block = self.largest[:, r, channels]
            torch.maximum(block, parts.transpose(1, 2), out=block)

    def joined(self) -> Tensor:
        """In the layer's shape: of every weight the share in the sums of its own sign."""
        shares = self.largest if self.joint else self.largest * self.weight
        positive, negative = shares.chunk(2, dim=1)
        found = torch.maximum(positive, negative)
        if self.joint:
            found = found.view(*found.shape, *[1] * len(self.layer.kernel))
        return found.expand_as(self.layer.weight)


def inverse(sums: Tensor) -> Tensor:
    """1 / z in place of z, 0 where z counts as 0.

    Arguments:
        sums: (samples, groups, rows, *positions), non-negative.
    """
    floor = FLOOR * sums.flatten(3).amax(-1) if sums.dim() > 3 else sums.new_zeros(sums.shape[:3])
    # beneath this the inverse overflows
    floor = floor.clamp_min_(torch.finfo(sums.dtype).tiny * 2**20)
    gone = sums <= floor.view(*floor.shape, *[1] * (sums.dim() - 3))
    return sums.reciprocal_().masked_fill_(gone, 0)


def _power_of_two(peak: Tensor) -> Tensor:
    """What brings a peak to between 1/2 and 1; shares do not depend on it, and nothing rounds."""
    found = (peak.frexp().mantissa / peak).clamp_max_(2.0**100)
    return torch.where(peak > 0, found, 1.0)
