"""A factored layer as the two plain layers that it stands for, built by hand."""

import torch
from torch import nn

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def two_layers(layer, folding, encoder, decoder):
    """Encoder and decoder of a convolution or a linear layer, in the layer's dtype.

    Each spatial axis of stride, padding and dilation goes to the layer that has the kernel there.
    """
    rank = decoder.shape[1] // folding.slices
    inner = folding.groups * folding.slices * rank
    axes = len(folding.shape) - 2
    sizes = (folding.shape[1] * folding.groups, inner), (inner, folding.shape[0])
    groups = folding.groups * folding.slices, folding.groups
    pair = []
    for side, weight in enumerate((encoder, decoder)):
        if not axes:  # a grouped linear layer is a convolution of positions
            new = nn.Conv1d(*sizes[side], 1, groups=groups[side], bias=side == 1)
            weight = weight[..., None]
        else:
            mine = [owned == (side == 0) for owned in folding.encoded]
            options = {
                name: tuple(
                    v if own else n for v, own in zip(getattr(layer, name), mine, strict=True)
                )
                for name, n in (("stride", 1), ("padding", 0), ("dilation", 1))
            }
            kernel = tuple(weight.shape[2:])
            new = CONV[axes](*sizes[side], kernel, groups=groups[side], bias=side == 1, **options)
        new.to(weight.dtype)
        assert new.weight.shape == weight.shape
        with torch.no_grad():
            new.weight.copy_(weight)
            if new.bias is not None:
                new.bias.copy_(layer.bias) if layer.bias is not None else new.bias.zero_()
        pair.append(new)
    return nn.Sequential(*pair)
