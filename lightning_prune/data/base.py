"""What the image data modules have in common."""

from abc import ABC, abstractmethod

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_prune.data.augmentation import CropFlip
from lightning_prune.data.images import TensorImages, channel_statistics
from lightning_prune.data.loader import ResumableLoader
from lightning_prune.data.split import stratified_split


class ImageData(pl.LightningDataModule, ABC):
    r"""Labelled images in memory: training, validation and test set through resumable loaders.

    The validation set is split off the training set, a stratified share that is the same whatever
    `seed`, so that scores of several seeds compare; the test set is never part of it. Pixels are
    normalised by mean and standard deviation of the training part.

    A subclass sets `name`, `classes` and `shape`, and reads its sets in `read`.

    Args:
        batch_size: Samples per batch and process.
        workers: Worker processes of each loader; 0 reads in the main process, which is fastest for
            small images.
        seed: Seed of the order of the training images and of their augmentation.
        validation: Share of the training set that validates, in [0, 1); 0 for no validation.
        augment: Augmentation of the training images, or None.
        drop_last: Whether a last training batch that is not full is left out.

    Attributes:
        name: What the set is called in messages.
        classes: Number of classes.
        shape: Channels, height and width of an image.

    Raises:
        ValueError: If an argument is out of its range.
    """

    name: str
    classes: int
    shape: tuple[int, int, int]

    def __init__(
        self,
        batch_size: int = 128,
        workers: int = 0,
        seed: int = 0,
        validation: float = 0.2,
        augment: CropFlip | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0:
            raise ValueError(
                f"Needs batch_size >= 1 and workers >= 0, got {batch_size} and {workers}."
            )
        if not 0 <= validation < 1:
            raise ValueError(
                f"validation is a share of the training set in [0, 1), got {validation}."
            )
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.validation, self.augment, self.drop_last = validation, augment, drop_last
        self.sets: dict[str, TensorImages] = {}

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
                images, labels, rows, self.mean, self.std, self.augment, self.seed
            )
            self.sets["val"] = TensorImages(images, labels, split_off, self.mean, self.std)
        if "test" not in self.sets and stage in (None, "test"):
            images, labels = self.checked(*self.read(train=False))
            self.sets["test"] = TensorImages(images, labels, None, self.mean, self.std)

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

    def loader(self, which: str, shuffle: bool = False) -> ResumableLoader:
        """Make a loader of the set "train", "val" or "test"."""
        return ResumableLoader(
            self.sets[which],
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            drop_last=self.drop_last and which == "train",
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> ResumableLoader:
        """Batches of (images, labels), in an order of its own for each epoch."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Batches of the part split off, in fixed order; an empty list without one."""
        return self.loader("val") if len(self.sets["val"]) else []

    def test_dataloader(self) -> ResumableLoader:
        """Batches of the test set, in fixed order."""
        return self.loader("test")
