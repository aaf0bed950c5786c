"""Images in one folder for each class."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_prune.data.augmentation import CropFlip
from lightning_prune.data.image_files import MODES, ImageFiles
from lightning_prune.data.images import channel_statistics
from lightning_prune.data.module import ResumableData
from lightning_prune.data.split import Split, stratified_split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SAMPLE = 1000  # images that mean and standard deviation are taken from, at most


class ImageFolder(ResumableData):
    r"""Images of any size in folders named after their classes.

    `path` holds the folders `train` and `test`, and maybe `val`, each with a folder for every
    class; or it holds the folders of the classes, and then test and validation set are split off,
    a stratified share of each class. Without `val`, validation is split off the training set.
    Classes are numbered in the order of their names. Images are read when they are needed, by the
    workers, resized to `size`, and normalised by mean and standard deviation of up to 1,000
    training images.

    Args:
        path: The folder.
        size: Height and width in pixels that images are resized to.
        channels: 1 for grey or 3 for colour.
        classes: Number of classes that there must be; None for any.
        split: How test and validation set are split off where they have no folder.
        augment: Augmentation of the training images, or None.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Attributes:
        names: Names of the classes, in order.
        shape: Channels, height and width of an image.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if there is no such folder.
        ValueError: If an argument is out of its range; in `setup`, if a folder is empty or the
            classes differ; while loading, if an image cannot be read.
    """

    name = "ImageFolder"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        size: int = 32,
        channels: int = 3,
        classes: int | None = None,
        split: Split | None = None,
        augment: CropFlip | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if size < 1 or channels not in MODES:
            raise ValueError(
                f"ImageFolder needs size >= 1 and 1 or 3 channels, got {size} and {channels}."
            )
        self.path = None if path is None else Path(path).expanduser()
        self.shape = (channels, size, size)
        self.classes, self.split, self.augment = classes, split or Split(), augment
        if self.split.group is not None:
            raise ValueError("Images in folders have no groups; leave split.group at null.")

    def prepare_data(self) -> None:
        """Look for the folder."""
        self.folder()

    def setup(self, stage: str | None = None) -> None:
        """List the files, once, and measure mean and standard deviation."""
        if self.sets:
            return
        files = self.parts()
        channels, size, _ = self.shape
        train = ImageFiles(*files["train"], channels, size)
        rows = range(0, len(train), -(-len(train) // SAMPLE))
        mean, std = channel_statistics(train.read(rows))
        for part, (paths, labels) in files.items():
            self.sets[part] = ImageFiles(
                paths, labels, channels, size, mean=mean, std=std, seed=self.seed,
                augment=self.augment if part == "train" else None,
            )  # fmt: skip

    def parts(self) -> dict[str, tuple[list[Path], Tensor]]:
        """List files and labels of each part."""
        folder = self.folder()
        if not (folder / "train").is_dir():
            self.names = self.checked(folder)
            files, labels = listed(folder, self.names)
            rows = self.split.rows(len(files), labels)
            return {part: chosen(files, labels, of) for part, of in rows.items()}
        self.names = self.checked(folder / "train")
        parts = {"train": listed(folder / "train", self.names)}
        for part in ("test", "val"):
            if part == "val" and not (folder / "val").is_dir():
                files, labels = parts["train"]
                stay, off = stratified_split(labels, self.split.validation, self.split.seed)
                parts |= {"train": chosen(files, labels, stay), "val": chosen(files, labels, off)}
                continue
            if not (folder / part).is_dir():
                raise FileNotFoundError(f"{folder} has a folder train and none named {part}.")
            if class_names(folder / part) != self.names:
                raise ValueError(
                    f"{folder / part} has the classes {', '.join(class_names(folder / part))} and "
                    f"{folder / 'train'} has {', '.join(self.names)}; they must be the same."
                )
            parts[part] = listed(folder / part, self.names)
        return parts

    def folder(self) -> Path:
        """Refuse a folder that is not there."""
        if self.path is None or not self.path.is_dir():
            raise FileNotFoundError(
                f"There is no image folder {self.path}; pass path= (data.path= on the command "
                "line), a folder with one folder for each class."
            )
        return self.path

    def checked(self, folder: Path) -> list[str]:
        """List the classes of a folder, and refuse none and another number than was said."""
        names = class_names(folder)
        if not names:
            raise ValueError(f"{folder} has no folders, one for each class, with images in them.")
        if self.classes is not None and len(names) != self.classes:
            raise ValueError(
                f"{folder} has {len(names)} classes and {self.classes} were announced; set "
                f"classes={len(names)} (dataset.classes={len(names)} on the command line)."
            )
        return names


def class_names(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones do not count."""
    return sorted(
        inner.name for inner in folder.iterdir() if inner.is_dir() and inner.name[0] != "."
    )


def listed(folder: Path, names: list[str]) -> tuple[list[Path], Tensor]:
    """List the images of all classes and their labels, and refuse a class without any."""
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(f for f in (folder / name).rglob("*") if f.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"{folder / name} has no images; add some or remove the folder.")
        files += found
        labels += [label] * len(found)
    return files, torch.tensor(labels)


def chosen(files: list[Path], labels: Tensor, rows: Tensor) -> tuple[list[Path], Tensor]:
    """Pick some of the files, with their labels."""
    return [files[row] for row in rows.tolist()], labels[rows]
