"""What the image data modules have in common."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from lightning_prune.data.augmentation import CropFlip
from lightning_prune.data.images import TensorImages, channel_statistics
from lightning_prune.data.mixed import MixedCorruptions
from lightning_prune.data.module import ResumableData
from lightning_prune.data.split import stratified_split


class ImageData(ResumableData, ABC):
    r"""Labelled images in memory: training, validation and test set through resumable loaders.

    The validation set is split off the training set, a stratified share that is the same whatever
    `seed`, so that scores of several seeds compare; the test set is never part of it. Pixels are
    normalised by mean and standard deviation of the training part.

    A subclass sets `name`, `classes` and `shape`, and reads its sets in `read`.

    Args:
        validation: Share of the training set that validates, in [0, 1); 0 for no validation.
        augment: Augmentation of the training images, or None.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Attributes:
        name: What the set is called in messages.
        classes: Number of classes.
        shape: Channels, height and width of an image.
        peak: The value of white.

    Raises:
        ValueError: If an argument is out of its range.
    """

    name: str
    classes: int
    shape: tuple[int, int, int]
    peak: ClassVar[float] = 255

    def __init__(
        self, validation: float = 0.2, augment: CropFlip | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not 0 <= validation < 1:
            raise ValueError(
                f"validation is a share of the training set in [0, 1), got {validation}."
            )
        self.validation, self.augment = validation, augment

    @abstractmethod
    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Read the training or the test set.

        Args:
            train: Which of the two.

        Returns:
            (n, channels, height, width) uint8 or float, and (n,) integer labels.
        """

    def setup(self, stage: str | None = None) -> None:
        """Read what the stage needs, once; the training set always, its statistics normalise."""
        if "train" not in self.sets:
            images, labels = self.checked(*self.read(train=True))
            rows, split_off = stratified_split(labels, self.validation, seed=0)
            self.mean, self.std = channel_statistics(images, rows)
            self.sets["train"] = TensorImages(
                images, labels, rows, self.mean, self.std, self.augmentation(), self.seed
            )
            self.sets["val"] = TensorImages(images, labels, split_off, self.mean, self.std)
        if "test" not in self.sets and stage in (None, "test"):
            images, labels = self.checked(*self.read(train=False))
            self.sets["test"] = TensorImages(images, labels, None, self.mean, self.std)

    def augmentation(self) -> CropFlip | None:
        """The augmentation, told which value is white if it needs to know."""
        if isinstance(self.augment, MixedCorruptions):
            return replace(self.augment, peak=self.peak)
        return self.augment

    def checked(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Refuse images and labels that do not belong together or to this data set."""
        if len(images) != len(labels) or not len(labels) or tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"{self.name} has images of {self.shape} and as many labels, "
                f"got {tuple(images.shape)} and {len(labels)} labels."
            )
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise ValueError(
                f"{self.name} has labels from 0 to {self.classes - 1}, "
                f"got {int(labels.min())} to {int(labels.max())}."
            )
        return images, labels
