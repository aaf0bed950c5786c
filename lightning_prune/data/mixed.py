"""Corruptions mixed into training."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_prune.data.augmentation import CropFlip, draws
from lightning_prune.data.corruptions import checked_names, corrupt

# a random split of the nineteen, drawn once by the authors: for training and for testing
MIX1 = (
    "contrast", "elastic_transform", "gaussian_blur", "impulse_noise", "motion_blur", "pixelate",
    "shot_noise", "snow", "zoom_blur",
)  # fmt: skip
MIX2 = (
    "brightness", "defocus_blur", "fog", "frost", "gaussian_noise", "glass_blur",
    "jpeg_compression", "saturate", "spatter", "speckle_noise",
)  # fmt: skip

STREAMS = 4, 5  # of names and severities; those before are of crops, flips and dequantisation


@dataclass(frozen=True)
class MixedCorruptions(CropFlip):
    r"""A random corruption of a random severity for each image, then random crop and flip.

    Every name and every severity is as likely; severity 0 is the clean image. What happens to an
    image depends on (seed, epoch, row) only, as with `CropFlip`, whose arguments come first.

    References:
        | Lost in Pruning: The Effects of Pruning Neural Networks beyond Test Accuracy (Liebenwein
          et al., 2021)
        | https://arxiv.org/abs/2103.03014

    Args:
        pad: Zero pixels added on each side before a window of the old size is cut out; 0 for no
            crop.
        flip: Whether half of the images are mirrored left to right.
        names: Names of corruptions, see `corrupt`; by default `MIX1`, the nine of the paper.
        severities: Each from 0 to 5.
        peak: The value of white; a data module sets it to its own.

    Raises:
        ValueError: If `pad` is negative, or a corruption or severity does not exist; when it is
            called, if a corruption is not possible with the images.
    """

    names: Sequence[str] = MIX1
    severities: Sequence[int] = (0, 1, 2, 3, 4, 5)
    peak: float = 255

    def __post_init__(self) -> None:
        super().__post_init__()
        names = checked_names(self.names)
        severities = tuple(self.severities)
        if not severities or not all(each in range(6) for each in severities):
            raise ValueError(
                f"severities of corruptions in training are from 0 to 5, got {severities}."
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "severities", severities)

    def __call__(self, images: Tensor, rows: Tensor, *, epoch: int, seed: int) -> Tensor:
        """Augment one batch.

        Args:
            images: (batch, channels, height, width) uint8 or float, from 0 to `peak`; not changed.
            rows: (batch,) number of each image in its data set.
            epoch: Epoch, counted from 0.
            seed: Seed of the run.

        Returns:
            Images of the same shape: uint8 if they are and peak is 255, otherwise float.
        """
        mixed = corrupt(images, self.names[0], 0, peak=self.peak).clone()
        name, severity = self.choices(rows, epoch=epoch, seed=seed)
        kind = name * len(self.severities) + severity
        for each in kind.unique().tolist():
            which, level = divmod(each, len(self.severities))
            if not self.severities[level]:
                continue
            chosen = (kind == each).nonzero()[:, 0]
            mixed[chosen] = corrupt(
                images[chosen], self.names[which], self.severities[level],
                rows=rows[chosen], seed=seed, epoch=epoch, peak=self.peak,
            )  # fmt: skip
        return super().__call__(mixed, rows, epoch=epoch, seed=seed)

    def choices(self, rows: Tensor, *, epoch: int, seed: int) -> tuple[Tensor, Tensor]:
        """Which of `names` and which of `severities` each image gets: two of (n,) int64."""
        name = draws(rows, epoch, seed, STREAMS[0], len(self.names))
        return name, draws(rows, epoch, seed, STREAMS[1], len(self.severities))
