"""CIFAR-10-C and CIFAR-10.1 from their official files."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_prune.data.base import ImageData
from lightning_prune.data.corruptions import BENCHMARK, EXTRA
from lightning_prune.data.images import TensorImages
from lightning_prune.data.official import data_root, known
from lightning_prune.data.raw_images import ready
from lightning_prune.data.shifts import Distribution, Shift, checked_severities, side

SHAPE = (32, 32, 3)
CLASSES = 10
LEVELS = 5  # severities in one file, one after the other
NAMES = tuple(sorted((*BENCHMARK, "frost", *EXTRA)))


class CIFAR10C(Shift):
    r"""The test images of CIFAR-10 under 19 corruptions of 5 severities, as they were published.

    `<root>/CIFAR-10-C` holds `labels.npy` and a file for each corruption: the test images at
    severity 1, then all at severity 2, and so on. Files are read where they lie, as far as they are
    needed.

    References:
        | Benchmarking Neural Network Robustness to Common Corruptions and Perturbations (Hendrycks
          and Dietterich, 2019)
        | https://arxiv.org/abs/1903.12261

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        names: Names of corruptions; None for all 19.
        severities: Each from 1 to 5.

    Raises:
        FileNotFoundError: In `distributions`, if no root is given or files are missing.
        ValueError: If a name or severity does not exist; in `distributions`, if a file is damaged
            or foreign, or the data are not like those of CIFAR-10.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        names: Sequence[str] | None = None,
        severities: Sequence[int] = (3,),
    ) -> None:
        self.root = data_root(root)
        self.names = NAMES if names is None else tuple(names)
        for name in self.names:
            if name not in NAMES:
                raise ValueError(f"CIFAR-10-C has no {name!r}; it has {', '.join(NAMES)}.")
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"Name each corruption of CIFAR-10-C once, got {self.names}; or null.")
        self.severities = checked_severities(severities)

    def distributions(self, data: ImageData, images: int | None = None) -> Iterator[Distribution]:
        """Read the files: every corruption at every severity, one at a time."""
        checked_data(data, images, "CIFAR-10-C")
        folder = known(self.root, "CIFAR-10-C") / "CIFAR-10-C"
        stored = {name: folder / f"{name}.npy" for name in ("labels", *self.names)}
        missing = [path.name for path in stored.values() if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"CIFAR-10-C is not in {folder}, which lacks {', '.join(missing)}; unpack the "
                "official CIFAR-10-C.tar there, or name the corruptions that you have."
            )
        labels = read_labels(stored["labels"])
        if len(labels) % LEVELS:
            raise ValueError(
                f"{stored['labels']} has {len(labels)} labels, which are not the same number for "
                f"each of {LEVELS} severities; put the official file there."
            )
        return self._each(data, stored, labels, images)

    def _each(
        self, data: ImageData, stored: dict[str, Path], labels: np.ndarray, images: int | None
    ) -> Iterator[Distribution]:
        count = len(labels) // LEVELS
        for name in self.names:
            content = read_images(stored[name], len(labels))
            for severity in self.severities:
                start = (severity - 1) * count
                part = slice(start, start + min(count, images or count))
                dataset = normalised(data, content[part], labels[part])
                yield Distribution(name, severity, side(data, name), dataset)


class CIFAR101(Shift):
    r"""New test images for CIFAR-10, collected years later in the same way.

    `cifar10.1_<version>_data.npy` and `cifar10.1_<version>_labels.npy` are looked for in the root
    and in its folders `CIFAR-10.1` and `cifar10.1`.

    References:
        | Do CIFAR-10 Classifiers Generalize to CIFAR-10? (Recht et al., 2018)
        | https://arxiv.org/abs/1806.00451

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        version: "v6", 2,000 images with as many of each class, or "v4", 2,021 images.

    Raises:
        FileNotFoundError: In `distributions`, if no root is given or files are missing.
        ValueError: If there is no such version; in `distributions`, if a file is damaged or
            foreign, or the data are not like those of CIFAR-10.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, version: str = "v6") -> None:
        if version not in ("v4", "v6"):
            raise ValueError(f"CIFAR-10.1 has the versions v4 and v6, got {version!r}.")
        self.root, self.version = data_root(root), version

    def distributions(self, data: ImageData, images: int | None = None) -> Iterator[Distribution]:
        """Read the files: one distribution, "cifar10.1", of severity 0."""
        checked_data(data, images, "CIFAR-10.1")
        root = known(self.root, "CIFAR-10.1")
        names = [f"cifar10.1_{self.version}_{part}.npy" for part in ("data", "labels")]
        for folder in (root, root / "CIFAR-10.1", root / "cifar10.1"):
            paths = [folder / name for name in names]
            if all(path.is_file() for path in paths):
                break
        else:
            raise FileNotFoundError(
                f"CIFAR-10.1 is not in {root}; put the official files {' and '.join(names)} into "
                f"{root / 'CIFAR-10.1'}."
            )
        labels = read_labels(paths[1])
        content = read_images(paths[0], len(labels))
        dataset = normalised(data, content[:images], labels[:images])
        return iter([Distribution("cifar10.1", 0, "test", dataset)])


def checked_data(data: ImageData, images: int | None, name: str) -> None:
    """Refuse data whose networks cannot be tested on images of CIFAR-10; set the others up."""
    if images is not None and images < 1:
        raise ValueError(f"images is how many of the test set are taken, at least 1; got {images}.")
    shape = tuple(getattr(data, "shape", ()))
    classes = getattr(data, "classes", None)
    if not isinstance(data, ImageData) or (shape, classes) != ((3, 32, 32), CLASSES):
        raise ValueError(
            f"{name} is for networks trained on images of (3, 32, 32) in {CLASSES} classes, and "
            f"{type(data).__name__} has {shape} in {classes}; take data=cifar10 (CIFAR10)."
        )
    ready(data)


def read_labels(path: Path) -> np.ndarray:
    """Read (n,) labels from 0 to 9, or refuse the file."""
    labels = read_array(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(
            f"{path} is no list of labels but has {labels.dtype} of {labels.shape}; put the "
            "official file there."
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < CLASSES:
        raise ValueError(
            f"{path} has labels from {labels.min()} to {labels.max()} instead of 0 to "
            f"{CLASSES - 1}; put the official file there."
        )
    return np.asarray(labels, dtype=np.int64)


def read_images(path: Path, count: int) -> np.ndarray:
    """Map (count, 32, 32, 3) bytes into memory, or refuse the file."""
    images = read_array(path)
    if images.shape != (count, *SHAPE) or images.dtype != np.uint8:
        raise ValueError(
            f"{path} has {images.dtype} of {images.shape} instead of bytes of {(count, *SHAPE)}, "
            "one image for each label; put the official file there."
        )
    return images


def read_array(path: Path) -> np.ndarray:
    """Map the array of a file into memory; nothing in the file is run."""
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:  # what NumPy says of damaged files
        raise ValueError(
            f"{path} is damaged or no NumPy array; put the official file there."
        ) from error
    if not isinstance(content, np.ndarray):
        raise ValueError(f"{path} is an archive and no NumPy array; put the official file there.")
    return content


def normalised(data: ImageData, images: np.ndarray, labels: np.ndarray) -> TensorImages:
    """Images and labels in memory, normalised as those of the data."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()
    return TensorImages(pixels, torch.from_numpy(labels.copy()), None, data.mean, data.std)
