"""Augmentation that is a pure function of seed, epoch and sample, whole batches at a time."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CropFlip:
    r"""Random crop of the zero-padded image, and horizontal flip with probability 1/2.

    What happens to an image depends on (seed, epoch, row) only: not on the batch it is in, nor on
    worker, rank or what was drawn before. So a resumed run sees the same images as an uninterrupted
    one.

    Args:
        pad: Zero pixels added on each side before a window of the old size is cut out; 0 for no
            crop.
        flip: Whether half of the images are mirrored left to right.

    Raises:
        ValueError: If `pad` is negative.
    """

    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"CropFlip needs pad >= 0 pixels, got {self.pad}.")

    def __call__(self, images: Tensor, rows: Tensor, *, epoch: int, seed: int) -> Tensor:
        """Augment one batch.

        Args:
            images: (batch, channels, height, width), any dtype; not changed.
            rows: (batch,) number of each image in its data set.
            epoch: Epoch, counted from 0.
            seed: Seed of the run.

        Returns:
            Images of the same shape and dtype.
        """
        if not (self.pad or self.flip):
            return images
        batch, _, height, width = images.shape
        top, left = (draws(rows, epoch, seed, stream, 2 * self.pad + 1) for stream in (0, 1))
        across = torch.arange(width).expand(batch, width)
        if self.flip:
            mirrored = draws(rows, epoch, seed, 2, 2).bool()
            across = torch.where(mirrored[:, None], across.flip(1), across)
        y = (top[:, None] + torch.arange(height))[:, :, None]  # (batch, height, 1)
        x = (left[:, None] + across)[:, None, :]  # (batch, 1, width)
        padded = F.pad(images, [self.pad] * 4)
        which = torch.arange(batch)[:, None, None]
        return padded[which, :, y, x].permute(0, 3, 1, 2).contiguous()


def draws(rows: Tensor, epoch: int, seed: int, stream: int, below: int) -> Tensor:
    r"""Draw one integer per row, uniform in [0, below), from (seed, epoch, stream, row) alone.

    The key is hashed by the finalizer of SplitMix64, once per part.

    References:
        | Fast Splittable Pseudorandom Number Generators (Steele, Lea and Flood, 2014)
        | https://doi.org/10.1145/2660193.2660195

    Args:
        rows: (n,) integers.
        epoch: Epoch, counted from 0.
        seed: Seed of the run.
        stream: Tells draws for different purposes apart.
        below: End of the range, at least 1; its remainder's bias is below `below` / 2^64.

    Returns:
        (n,) int64.
    """
    key = np.zeros(1, dtype=np.uint64)
    for part in (seed, epoch, stream):
        key = splitmix64(key + np.uint64(part % 2**64))
    key = splitmix64(key + rows.numpy().astype(np.uint64))
    return torch.from_numpy((key % np.uint64(below)).astype(np.int64))


def splitmix64(key: np.ndarray) -> np.ndarray:
    """Scramble 64-bit keys; products and sums wrap around."""
    key = key + np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))
