"""Images as points of a density."""

from __future__ import annotations

from typing import Any

import torch

from lightning_prune.data.base import ImageData
from lightning_prune.data.dequantised import Dequantised
from lightning_prune.data.images import TensorImages
from lightning_prune.data.module import ResumableData


class ImageDensity(ResumableData):
    r"""The images of another data module, dequantised instead of normalised, for flows.

    Batches are (batch, channels, height, width) float32 in (0, 1) and (batch,) int64 labels. An
    image is (pixel + u) / levels, u uniform: new in each epoch for training, a pure function of
    (seed, epoch, row); one fixed draw, the same for all seeds, for validation and test. So a
    density's mean -log2 p per dimension, plus log2(levels), is a bound on bits per pixel.

    References:
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        | (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367

    Args:
        source: The images, with uint8 pixels; its validation share and augmentation hold here,
            its batch size, workers and seed do not.
        levels: Number of values that a pixel can have, from 0 on: 256 for bytes, 17 for `Digits`.
        pad: Pixels of value 0 added on each side, so that sizes can be halved more often; None for
            none.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Attributes:
        classes: Number of classes of the source.
        shape: Channels, height and width of an image, padded.
        dims: Product of the shape.
        mixture: None, since the density is not known.
        floor: None, likewise.

    Raises:
        TypeError: If the source is no data module of images.
        ValueError: If an argument is out of its range; in `setup`, if the source's pixels are not
            whole numbers below `levels`.
    """

    mixture = None
    floor = None

    def __init__(
        self, source: ImageData, levels: int = 256, pad: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not isinstance(source, ImageData):
            raise TypeError(
                f"ImageDensity needs a data module of images such as Digits() as its source, got "
                f"{type(source).__name__}."
            )
        pad = pad or 0
        if not 2 <= levels <= 256 or pad < 0:
            raise ValueError(f"Needs levels from 2 to 256 and pad >= 0, got {levels} and {pad}.")
        self.source, self.levels, self.pad = source, levels, pad
        self.classes = source.classes
        channels, height, width = source.shape
        self.shape = (channels, height + 2 * pad, width + 2 * pad)
        self.dims = self.shape[0] * self.shape[1] * self.shape[2]

    def prepare_data(self) -> None:
        """Let the source look for its files."""
        self.source.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Read what the stage needs, once."""
        self.source.setup(stage)
        for part, images in self.source.sets.items():
            if part not in self.sets:
                self.sets[part] = self.dequantised(part, images)

    def dequantised(self, part: str, images: Any) -> Dequantised:
        """Take the raw pixels of a set of the source."""
        if not isinstance(images, TensorImages) or images.images.dtype != torch.uint8:
            raise ValueError(
                f"{self.source.name} has no images of whole-numbered pixels in memory; take "
                "another source, such as Digits or MNIST."
            )
        return Dequantised(
            images.images,
            images.labels,
            images.rows,
            levels=self.levels,
            pad=self.pad,
            augment=images.augment,
            seed=self.seed,
            fixed=part != "train",
        )
