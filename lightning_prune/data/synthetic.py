"""Made-up images, of any shape, that a network can learn."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_prune.data.base import ImageData


class Synthetic(ImageData):
    r"""Random images: a random pattern for each class, and Gaussian noise over it.

    A stand-in for any data set in tests and debugging. Everything is a pure function of the
    arguments, patterns and noise of `seed` among them; the global random stream is not touched.

    Args:
        shape: Channels, height and width.
        classes: Number of classes; every class has the same number of samples, within one.
        samples: Images in the training set, validation included.
        test_samples: Images in the test set.
        noise: Standard deviation of the noise; that of the patterns is 1.
        pixels: Whether images are bytes, as photographs are, of a mean grey and 32 levels for 1.
        options: The arguments of `ImageData`: batch_size, workers, seed, validation, augment,
            drop_last.

    Raises:
        ValueError: If a size is smaller than 1 or the noise negative.
    """

    name = "Synthetic"

    def __init__(
        self,
        shape: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        samples: int = 1024,
        test_samples: int = 256,
        noise: float = 1.0,
        pixels: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if len(shape) != 3 or min(*shape, classes, samples, test_samples) < 1 or noise < 0:
            raise ValueError(
                "Synthetic needs a shape of (channels, height, width), sizes of at least 1 and "
                "noise >= 0."
            )
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.classes, self.noise = classes, noise
        self.samples, self.test_samples = samples, test_samples
        self.pixels = pixels

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Make the training or the test set: float32 images, or bytes."""
        generator = torch.Generator().manual_seed(self.seed % 2**63)
        patterns = torch.randn(self.classes, *self.shape, generator=generator)
        if not train:  # other noise over the same patterns
            generator.manual_seed((self.seed + 2**62) % 2**63)
        count = self.samples if train else self.test_samples
        labels = torch.arange(count) % self.classes
        noise = torch.randn(count, *self.shape, generator=generator)
        images = patterns[labels] + self.noise * noise
        if self.pixels:
            images = (128 + 32 * images).clamp(0, 255).to(torch.uint8)
        return images, labels
