"""CIFAR-10 and CIFAR-100 from their official Python files."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lightning_prune.data.official import OfficialImages
from lightning_prune.data.pickles import read_pickle


class CIFAR10(OfficialImages):
    r"""60,000 colour images of animals and vehicles, 32 x 32 pixels, 10,000 of them for the test.

    The five training batches and the test batch, in the official format for Python and of any
    number of rows, are looked for in `<root>/cifar-10-batches-py`, where torchvision has them, and
    in the same folder below `<root>/cifar10` and `<root>/cifar10-subset`. They are pickles, and are
    read without running what is in them.

    References:
        | Learning Multiple Layers of Features from Tiny Images (Krizhevsky, 2009)
        | https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        subset: Folder inside the data set's that holds a smaller version of the files, or None.
        download: Whether missing files are downloaded, into `<root>/cifar-10-batches-py`.
        options: The arguments of `ImageData`: batch_size, workers, seed, validation, augment,
            drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given, or files are missing
            and not to be downloaded.
        ValueError: In `setup`, if a file is damaged, foreign or asks to run code.
    """

    name = "CIFAR10"
    classes = 10
    shape = (3, 32, 32)
    folders: ClassVar[tuple[str, ...]] = ("", "cifar10", "cifar10-subset")
    inner = "cifar-10-batches-py"
    contents = "the official files data_batch_1 to data_batch_5 and test_batch"
    label: ClassVar[str] = "labels"
    batches: ClassVar[dict[bool, tuple[str, ...]]] = {
        True: tuple(f"data_batch_{number}" for number in range(1, 6)),
        False: ("test_batch",),
    }

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Read the training or the test set: bytes, rows in the order of the files."""
        folder = self.folder()
        images, labels = zip(
            *(self.batch(folder / name) for name in self.batches[train]), strict=True
        )
        return torch.cat(images), torch.cat(labels)

    def batch(self, path: Path) -> tuple[Tensor, Tensor]:
        """Read one file: (n, 3, 32, 32) bytes and (n,) labels."""
        content = read_pickle(path)
        data, labels = content.get("data"), content.get(self.label)
        if (
            not isinstance(data, np.ndarray)
            or data.dtype != np.uint8
            or data.ndim != 2
            or data.shape[1] != 3072
            or not isinstance(labels, list)
            or len(labels) != len(data)
            or not all(type(label) is int for label in labels)
        ):
            raise ValueError(
                f"{path} is no batch of {self.name}: that has `data` of (n, 3072) bytes and n "
                f"`{self.label}`; put the official file there."
            )
        # a copy, because torch wants memory that may be written
        images = torch.from_numpy(np.array(data)).view(-1, *self.shape)
        return images, torch.tensor(labels, dtype=torch.int64)

    def complete(self, folder: Path) -> bool:
        """Whether all files of images are there."""
        return all((folder / name).is_file() for part in self.batches.values() for name in part)


class CIFAR100(CIFAR10):
    r"""60,000 colour images of 100 kinds of things, 32 x 32 pixels, 10,000 of them for the test.

    The files `train` and `test` are looked for in `<root>/cifar-100-python`, where torchvision has
    them, and in the same folder below `<root>/cifar100`. The labels are the fine ones.

    References:
        | Learning Multiple Layers of Features from Tiny Images (Krizhevsky, 2009)
        | https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        subset: Folder inside the data set's that holds a smaller version of the files, or None.
        download: Whether missing files are downloaded, into `<root>/cifar-100-python`.
        options: The arguments of `ImageData`: batch_size, workers, seed, validation, augment,
            drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given, or files are missing
            and not to be downloaded.
        ValueError: In `setup`, if a file is damaged, foreign or asks to run code.
    """

    name = "CIFAR100"
    classes = 100
    folders = ("", "cifar100")
    inner = "cifar-100-python"
    contents = "the official files train and test"
    label = "fine_labels"
    batches: ClassVar[dict[bool, tuple[str, ...]]] = {True: ("train",), False: ("test",)}
