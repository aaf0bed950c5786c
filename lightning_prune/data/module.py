"""What all data modules have in common."""

import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from lightning_prune.data.loader import ResumableLoader


class ResumableData(pl.LightningDataModule):
    r"""Training, validation and test set through resumable loaders.

    A subclass fills `sets` in `setup`, with the keys "train", "val" and "test".

    Args:
        batch_size: Samples per batch and process.
        workers: Worker processes of each loader; 0 reads in the main process, which is fastest for
            what lies in memory.
        seed: Seed of the order of the training samples and of their augmentation.
        drop_last: Whether a last training batch that is not full is left out.

    Attributes:
        sets: The data sets, by what they are for.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self, batch_size: int = 128, workers: int = 0, seed: int = 0, drop_last: bool = False
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0:
            raise ValueError(
                f"Needs batch_size >= 1 and workers >= 0, got {batch_size} and {workers}."
            )
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.drop_last = drop_last
        self.sets: dict[str, Dataset] = {}

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
        """Batches of the training set, in an order of its own for each epoch."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Batches of the validation set, in fixed order; an empty list without one."""
        return self.loader("val") if len(self.sets["val"]) else []  # type: ignore[arg-type]

    def test_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Batches of the test set, in fixed order; an empty list without one."""
        return self.loader("test") if len(self.sets["test"]) else []  # type: ignore[arg-type]
