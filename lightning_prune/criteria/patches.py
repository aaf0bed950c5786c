"""Patches: what each output of a layer reads, in one form for every kind of layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lightning_prune.network.layers import Layer

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_WEIGHT_GRADIENT = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}


@dataclass(frozen=True, eq=False)
class Patches:
    """A layer and its input as a plain convolution: no padding, no bias, groups apart.

    Padding of any mode is written out. A transposed convolution becomes the convolution of its
    input, spread by the stride, with the flipped kernel. A linear layer has no kernel positions,
    and every vector that it is applied to is a sample.

    Arguments:
        inputs: (samples, channels, *size), padded.
        weight: (groups, filters / groups, channels / groups, *kernel).
        stride: By dimension of the kernel.
        dilation: By dimension of the kernel.
        transposed: The weight belongs to a transposed convolution.
    """

    inputs: Tensor
    weight: Tensor
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    transposed: bool = False

    @property
    def kernel(self) -> torch.Size:
        """Of one channel; empty for a linear layer."""
        return self.weight.shape[3:]

    @property
    def positions(self) -> torch.Size:
        """Numbers of outputs by dimension of the kernel; empty for a linear layer."""
        sizes = zip(self.inputs.shape[2:], self.kernel, self.stride, self.dilation, strict=True)
        return torch.Size((size - d * (k - 1) - 1) // s + 1 for size, k, s, d in sizes)

    def convolve(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """(samples, groups, rows, *positions) of inputs and a weight like these.

        Arguments:
            inputs: (samples, channels, *size).
            weight: (groups, rows, channels / groups, *kernel), any number of rows.
        """
        groups, rows = weight.shape[:2]
        if not self.kernel:
            return F.linear(inputs, weight[0])[:, None]
        run = _CONVOLVE[len(self.kernel)]
        found = run(inputs, weight.flatten(0, 1), None, self.stride, 0, self.dilation, groups)
        return found.unflatten(1, (groups, rows))

    def correlate(self, inputs: Tensor, rates: Tensor, like: Tensor) -> Tensor:
        """(groups, rows, channels / groups, *kernel): rates * patches, summed over positions.

        The gradient of a convolution with respect to its weight, for outputs' gradients `rates`.

        Arguments:
            inputs: (1, channels, *size), one sample.
            rates: (1, groups, rows, *positions).
            like: Of the shape of the result.
        """
        run = _WEIGHT_GRADIENT[len(self.kernel)]
        groups = len(like)
        flat = run(
            inputs,
            list(like.flatten(0, 1).shape),
            rates.flatten(1, 2),
            self.stride,
            0,
            self.dilation,
            groups,
        )
        return flat.view_as(like)

    def entry(self, index: int) -> Tensor:
        """(groups, channels / groups, samples * positions): what one entry of the kernel reads.

        Arguments:
            index: Of the entry, in the order of the flat kernel; 0 for a linear layer.
        """
        part = self.inputs
        for axis in reversed(range(len(self.kernel))):
            index, offset = divmod(index, self.kernel[axis])
            start, step = offset * self.dilation[axis], self.stride[axis]
            stop = start + step * (self.positions[axis] - 1) + 1
            part = part[(slice(None),) * (axis + 2) + (slice(start, stop, step),)]
        return part.movedim(1, 0).flatten(1).unflatten(0, (len(self.weight), -1))

    def windows(self, sample: Tensor, numbers: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """The unfolded patches of a sample, in blocks of channels and of rows of positions.

        Arguments:
            sample: (channels, *size).
            numbers: In one block at most; a channel at one row of positions is the least.

        Yields:
            The channels within every group, the rows of positions, and a copy of
            (groups, channels, kernel entries, positions).
        """
        groups, positions = len(self.weight), self.positions
        apart = sample.unflatten(0, (groups, -1))
        steps = apart.stride()[2:]
        view = apart.as_strided(
            (*apart.shape[:2], *self.kernel, *positions),
            (
                *apart.stride()[:2],
                *(step * each for step, each in zip(steps, self.dilation, strict=True)),
                *(step * each for step, each in zip(steps, self.stride, strict=True)),
            ),
        )
        row = groups * self.kernel.numel() * torch.Size(positions[1:]).numel()
        rows = min(positions[0], max(1, numbers // row))
        channels = max(1, numbers // (row * rows))
        dims = len(self.kernel)
        for first in range(0, view.shape[1], channels):
            for top in range(0, positions[0], rows):
                part = view[:, first : first + channels].narrow(
                    2 + dims, top, min(rows, positions[0] - top)
                )
                flat = part.reshape(*part.shape[:2], self.kernel.numel(), -1)
                yield slice(first, first + channels), slice(top, top + rows), flat

    def as_weight(self, values: Tensor) -> Tensor:
        """Numbers in the shape of `weight`, in the shape that the module's weight has."""
        if not self.transposed:
            return values.flatten(0, 1)
        return _flipped(values).transpose(1, 2).flatten(0, 1)


def patches_of(
    layer: Layer,
    value: Tensor,
    least: torch.dtype = torch.float32,
    weight: Tensor | None = None,
) -> Patches:
    """The patches of one call of a layer.

    Arguments:
        layer: Linear, or a convolution of any kind.
        value: What the layer was called with.
        least: Precision of the patches and the weight, where the weight's is not higher.
        weight: Takes the place of the layer's.

    Raises:
        TypeError: The layer is of another kind.
    """
    module = layer.module
    if not isinstance(module, nn.Linear | _ConvNd):
        raise TypeError(
            f"Layer {layer.name!r} is a {type(module).__name__}; what its weights are multiplied "
            "with is known of linear and convolutional layers."
        )
    dtype = torch.promote_types(layer.weight.dtype, least)
    weight = (layer.weight if weight is None else weight).to(dtype)
    inputs = value.to(dtype)
    if isinstance(module, nn.Linear):
        return Patches(inputs.reshape(-1, weight.shape[1]), weight[None])
    if inputs.dim() < weight.dim():  # a single sample without a batch
        inputs = inputs[None]
    if isinstance(module, _ConvTransposeNd):
        return _transposed(module, inputs, weight)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    if any(module._reversed_padding_repeated_twice):
        inputs = F.pad(inputs, module._reversed_padding_repeated_twice, mode)
    apart = weight.unflatten(0, (module.groups, -1))
    return Patches(inputs, apart, module.stride, module.dilation)


def _transposed(module: _ConvTransposeNd, inputs: Tensor, weight: Tensor) -> Patches:
    kernel = module.kernel_size
    sizes = [(n - 1) * s + 1 for n, s in zip(inputs.shape[2:], module.stride, strict=True)]
    spread = inputs.new_zeros(*inputs.shape[:2], *sizes)
    view = spread
    for dim, step in enumerate(module.stride):
        view = view[(slice(None),) * (2 + dim) + (slice(None, None, step),)]
    view.copy_(inputs)
    padding: list[int] = []
    for dim in reversed(range(len(kernel))):
        before = module.dilation[dim] * (kernel[dim] - 1) - int(module.padding[dim])
        padding += [before, before + module.output_padding[dim]]
    apart = _flipped(weight.unflatten(0, (module.groups, -1)).transpose(1, 2))
    ones = (1,) * len(kernel)
    return Patches(F.pad(spread, padding), apart, ones, module.dilation, transposed=True)


def _flipped(weight: Tensor) -> Tensor:
    return weight.flip(list(range(3, weight.dim())))
