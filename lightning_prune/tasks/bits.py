"""Bits per dimension: how well a density of dequantised images would compress them."""

from __future__ import annotations

import math

from torch import Tensor


def bits_per_dim(log_prob: Tensor, dims: int, levels: int = 256) -> Tensor:
    r"""Bits that a pixel of a dequantised image takes under a density on [0, 1].

    :math:`-(\log p / D - \ln L) / \ln 2`: the density of an image is its probability times
    :math:`L^D`, because every pixel value is an interval of length 1 / L.

    Args:
        log_prob: Log densities in nats, of any shape.
        dims: Numbers of an image.
        levels: Values that a pixel can have.

    Returns:
        Bits per dimension, in the shape of log_prob; log2(levels) for the uniform density.
    """
    return math.log2(levels) - log_prob / (dims * math.log(2))
