"""MNIST and Fashion-MNIST from their official files."""

from pathlib import Path

from torch import Tensor

from lightning_prune.data.idx import read_idx
from lightning_prune.data.official import OfficialImages


class MNIST(OfficialImages):
    r"""70,000 grey images of handwritten digits, 28 x 28 pixels, 10,000 of them for the test.

    The four official files are looked for, packed (`.gz`) or not, in `<root>/mnist` and in
    torchvision's `<root>/MNIST/raw`. They are read once, into bytes in memory; nothing is ever
    written, unless `download` asks torchvision to fetch missing files into `<root>/MNIST/raw`.

    References:
        | Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998)
        | https://doi.org/10.1109/5.726791

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        subset: Folder inside the data set's that holds a smaller version of the files, or None.
        download: Whether missing files are downloaded.
        options: The arguments of `ImageData`: batch_size, workers, seed, validation, augment,
            drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given, or files are missing
            and not to be downloaded.
        ValueError: In `setup`, if a file is damaged or foreign.
    """

    name = "MNIST"
    classes = 10
    shape = (1, 28, 28)
    folders = ("mnist", "MNIST/raw")

    contents = "the four official files (such as train-images-idx3-ubyte.gz)"

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Read the training or the test set: bytes."""
        folder = self.folder()
        images, labels = (existing(folder / name)[0] for name in names(train))
        return read_idx(images, 3)[:, None], read_idx(labels, 1)

    def complete(self, folder: Path) -> bool:
        """Whether all four files are there."""
        return all(existing(folder / name) for name in (*names(True), *names(False)))


class FashionMNIST(MNIST):
    r"""70,000 grey images of clothing, 28 x 28 pixels, 10,000 for the test.

    They are looked for in `<root>/fashion-mnist` and in torchvision's `<root>/FashionMNIST/raw`.

    References:
        | Fashion-MNIST: a Novel Image Dataset for Benchmarking (...) (Xiao et al., 2017)
        | https://arxiv.org/abs/1708.07747

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        subset: Folder inside the data set's that holds a smaller version of the files, or None.
        download: Whether missing files are downloaded, into `<root>/FashionMNIST/raw`.
        options: The arguments of `ImageData`: batch_size, workers, seed, validation, augment,
            drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given, or files are missing
            and not to be downloaded.
        ValueError: In `setup`, if a file is damaged or foreign.
    """

    name = "FashionMNIST"
    folders = ("fashion-mnist", "FashionMNIST/raw")


def names(train: bool) -> tuple[str, str]:
    """Names of the official files of images and labels, unpacked."""
    part = "train" if train else "t10k"
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def existing(path: Path) -> list[Path]:
    """List what there is of the file itself and its packed form."""
    return [file for file in (path, path.with_name(path.name + ".gz")) if file.is_file()]
