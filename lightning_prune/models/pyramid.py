"""The pyramid: shapes that an image goes through at several scales."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 4  # height and width of the last scale
Shape = tuple[int, int, int]


class Pyramid:
    r"""Stages of a multiscale flow: two a scale, between which pixels become channels.

    Into an odd stage 2x2 pixels are squeezed to four channels; into an even one, the first left
    out, only the first half of the channels goes on. Nothing but entries' places change, so the log
    determinant is zero.

    Args:
        shape: Channels, height and width of an image.
        scales: How many; None: as many as leave a height and width of at least 4.

    Attributes:
        shape: Channels, height and width of an image.
        shapes: Of every stage.

    Raises:
        ValueError: If there is no scale, or the height or width cannot be halved between scales.

    References:
        | Density estimation using Real NVP (Dinh et al., 2017), sections 3.6 and 3.7
        | https://arxiv.org/abs/1605.08803
    """

    def __init__(self, shape: Shape, scales: int | None = None) -> None:
        channels, height, width = shape
        squeezes = _halvings(height, width) if scales is None else scales - 1
        if squeezes < 0 or height % 2**squeezes or width % 2**squeezes:
            raise ValueError(
                f"Images of {height}x{width} pixels cannot be seen at {scales} scales: every scale "
                "but the last halves both."
            )
        shapes: list[Shape] = [shape]
        for _ in range(squeezes):
            height, width = height // 2, width // 2
            shapes += [(4 * channels, height, width), (2 * channels, height, width)]
            channels *= 2
        self.shape, self.shapes = shape, tuple(shapes)

    def enter(self, stage: int, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Bring images of one stage to the next.

        Args:
            stage: The next one.
            x: (batch, *shapes[stage - 1]); for stage 0 images.

        Returns:
            (batch, *shapes[stage]), and what leaves here, of the same shape: nothing or one tensor.
        """
        if stage % 2:
            return F.pixel_unshuffle(x, 2), []
        if stage:
            x, gone = x.chunk(2, 1)
            return x, [gone]
        return x, []

    def leave(self, stage: int, x: Tensor, noise: list[Tensor]) -> Tensor:
        """Undo `enter`, and take what left there from the end of the list."""
        if stage % 2:
            return F.pixel_shuffle(x, 2)
        return torch.cat([x, noise.pop()], 1) if stage else x

    def split(self, z: Tensor) -> list[Tensor]:
        """(batch, dims) noise as what left stage by stage, and what remained."""
        # what leaves is as large as what goes on
        shapes = [*self.shapes[2::2], self.shapes[-1]]
        parts = z.split([math.prod(shape) for shape in shapes], 1)
        return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _halvings(height: int, width: int) -> int:
    """How often both can be halved and stay as large as the smallest scale."""
    count = 0
    while height % 2 == width % 2 == 0 and min(height, width) >= 2 * SMALLEST:
        height, width, count = height // 2, width // 2, count + 1
    return count
