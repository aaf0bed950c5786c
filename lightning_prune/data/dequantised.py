"""Images whose whole-numbered pixels became continuous."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_prune.data.augmentation import CropFlip, splitmix64
from lightning_prune.data.images import TensorImages

STREAM = 3  # those before it are the augmentation's


class Dequantised(TensorImages):
    r"""Images in memory, as (pixel + u) / levels with u uniform in (0, 1), and their labels.

    The noise is new in each epoch and a pure function of (seed, epoch, row), or fixed.

    References:
        | RNADE: The real-valued neural autoregressive density-estimator (Uria et al., 2013)
        | https://arxiv.org/abs/1306.0186

    Args:
        images: (n, channels, height, width) uint8; not copied.
        labels: (n,) integer class of each image.
        rows: (m,) which images belong to this data set, by default all.
        levels: Number of values that a pixel can have, from 0 on; 2 to 256.
        pad: Pixels of value 0 added on each side, which get noise as well.
        augment: What happens to the raw images of a batch, or None.
        seed: Seed of noise and augmentation.
        fixed: Whether the noise depends on the row alone, not on epoch and seed.

    Raises:
        ValueError: If images and labels do not fit each other, or the images the levels.
    """

    def __init__(  # noqa: PLR0913
        self,
        images: Tensor,
        labels: Tensor,
        rows: Tensor | None = None,
        *,
        levels: int = 256,
        pad: int = 0,
        augment: CropFlip | None = None,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        super().__init__(images, labels, rows, augment=augment, seed=seed)
        if not 2 <= levels <= 256 or pad < 0:
            raise ValueError(f"Needs levels from 2 to 256 and pad >= 0, got {levels} and {pad}.")
        if images.dtype != torch.uint8:
            raise ValueError(
                f"Only whole-numbered pixels can be dequantised, of dtype uint8, not "
                f"{images.dtype}; take images that were stored so."
            )
        if images.numel() and int(images.max()) >= levels:
            raise ValueError(
                f"The images have pixels up to {int(images.max())}; set levels to "
                f"{int(images.max()) + 1} or more, got {levels}."
            )
        self.levels, self.pad, self.fixed = levels, pad, fixed

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = self.rows[torch.as_tensor(indices)]
        images, epoch = self.images[rows], int(self._epoch)
        if self.augment is not None:
            images = self.augment(images, rows, epoch=epoch, seed=self.seed)
        images = F.pad(images, [self.pad] * 4)
        seed, epoch = (0, 0) if self.fixed else (self.seed, epoch)
        noise = uniform(rows, epoch, seed, images[0].numel() if len(images) else 1)
        return dequantise(images, noise.view(images.shape), self.levels), self.labels[rows]


def dequantise(pixels: Tensor, noise: Tensor, levels: int = 256) -> Tensor:
    r"""Spread each level of the pixels over its share of [0, 1).

    With 256 levels this is (255 x + u) / 256 for an image x in [0, 1].

    Args:
        pixels: Whole numbers from 0 to levels - 1, any shape.
        noise: Numbers in [0, 1), of that shape.
        levels: Number of values that a pixel can have.

    Returns:
        (pixels + noise) / levels, float32. floor(levels * it) gives the pixels back where the noise
        is what `uniform` draws; other noise may be rounded up to 1 in the sum.
    """
    return (pixels.float() + noise) / levels


def uniform(rows: Tensor, epoch: int, seed: int, size: int) -> Tensor:
    r"""Draw numbers uniform in (0, 1), for each row from (seed, epoch, row) alone.

    They are the midpoints of 32,768 bins: with so few digits the sum of pixel and noise is exact in
    float32, and no rounding takes a pixel to the next level.

    Args:
        rows: (n,) integers.
        epoch: Epoch, counted from 0.
        seed: Seed of the run.
        size: How many for each row.

    Returns:
        (n, size) float32.
    """
    key = np.zeros(1, dtype=np.uint64)
    for part in (seed, epoch, STREAM):
        key = splitmix64(key + np.uint64(part % 2**64))
    key = splitmix64(key + rows.numpy().astype(np.uint64))
    keys = splitmix64(key[:, None] + np.arange(size, dtype=np.uint64))
    bins = (keys >> np.uint64(49)).astype(np.float32)  # 15 bits
    return torch.from_numpy((bins + np.float32(0.5)) / np.float32(2**15))
