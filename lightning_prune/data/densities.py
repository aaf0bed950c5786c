"""What the tabular sets for density estimation have in common."""

import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from lightning_prune.data.module import ResumableData
from lightning_prune.data.official import data_root, known
from lightning_prune.data.points import Points

Parts = Mapping[str, np.ndarray]


class TabularDensity(ResumableData):
    r"""Points without labels from a set's official files, prepared as in the published scores.

    Batches are plain (batch, dims) float32. A subclass sets `name`, `dims`, `folders` and `files`,
    and reads and prepares its parts in `read`.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057
        | files: https://doi.org/10.5281/zenodo.1161203

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        rows: At most so many points of each part, the first ones, for quick runs; None for all.
            They are taken after the preparation, which is always that of the whole set.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Attributes:
        name: What the set is called in messages.
        dims: Coordinates of a point.
        folders: Where the set is looked for below the root, in this order.
        files: What it consists of.
        mixture: None, since the density is not known.
        floor: None, likewise.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given or a file is missing.
        ValueError: If an argument is out of its range; in `setup`, if a file is damaged or foreign.
    """

    name: str
    dims: ClassVar[int]
    folders: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[str, ...]]
    mixture = None
    floor = None

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        rows: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if rows is not None and rows < 1:
            raise ValueError(f"rows is at least 1, or None for all, got {rows}.")
        self.root, self.rows = data_root(root), rows

    @abstractmethod
    def read(self, folder: Path) -> Parts:
        """Read and prepare the set.

        Args:
            folder: Where all of `files` are.

        Returns:
            (n, dims) points of "train", "val" and "test".
        """

    def prepare_data(self) -> None:
        """Look for the files."""
        self.folder()

    def setup(self, stage: str | None = None) -> None:
        """Read and prepare the set, once."""
        if self.sets:
            return
        folder = self.folder()
        try:
            parts = self.read(folder)
        except OSError as error:
            raise ValueError(
                f"{self.name} in {folder} is damaged or foreign ({error}); get the official files "
                "again."
            ) from error
        self.sets = {part: Points(self.checked(part, points)) for part, points in parts.items()}

    def checked(self, part: str, points: np.ndarray) -> torch.Tensor:
        """Refuse what is not a part of this set; (n, dims) float32."""
        if points.ndim != 2 or points.shape[1] != self.dims or not len(points):
            raise ValueError(
                f"{self.name} has points of {self.dims} numbers after the preparation, got "
                f"{points.shape} for {part}; get the official files."
            )
        if not np.isfinite(points).all():
            raise ValueError(
                f"{self.name} has missing or infinite values in {part}; get the official files."
            )
        return torch.from_numpy(np.ascontiguousarray(points[: self.rows], dtype=np.float32))

    def folder(self) -> Path:
        """Find the folder of the files, or say what is missing."""
        root = known(self.root, self.name)
        places = [root / folder for folder in self.folders]
        for place in places:
            if all((place / file).is_file() for file in self.files):
                return place
        raise FileNotFoundError(
            f"{self.name} is not in {root}; put {' and '.join(self.files)} of the archive at "
            f"https://doi.org/10.5281/zenodo.1161203 into {places[0]}."
        )


def load_array(path: Path, columns: tuple[int, ...]) -> np.ndarray:
    r"""Read a table of numbers in numpy's format; pickled objects are refused.

    Args:
        path: The file.
        columns: Numbers of columns that it may have.

    Returns:
        (n, columns) float64.

    Raises:
        ValueError: If it is something else.
    """
    try:
        table = np.load(path, allow_pickle=False)
        fits = table.ndim == 2 and len(table) and table.shape[1] in columns
        fits = fits and table.dtype.kind in "fiu"
    except (ValueError, EOFError, AttributeError):
        fits = False
    if not fits:
        wanted = " or ".join(map(str, columns))
        raise ValueError(
            f"{path} is no table of numbers with {wanted} columns; get the official file again."
        )
    return table.astype(np.float64)


def tail_split(table: np.ndarray) -> dict[str, np.ndarray]:
    """Make the last tenth the test set and the last tenth of the rest the validation set."""
    test = len(table) // 10
    val = (len(table) - test) // 10
    train, val_end = len(table) - test - val, len(table) - test
    return {"train": table[:train], "val": table[train:val_end], "test": table[val_end:]}


def standardised(parts: Parts) -> dict[str, np.ndarray]:
    """Shift and scale each column by mean and deviation of training and validation together."""
    measured = np.concatenate([parts["train"], parts["val"]])
    mean, std = measured.mean(0), measured.std(0)
    return {part: (points - mean) / std for part, points in parts.items()}


def without_repeats(table: np.ndarray) -> np.ndarray:
    r"""Which columns the published preparation keeps, (columns,) bool.

    It means to drop columns in which some value occurs often, but counts the smallest value only.
    That is kept, since the published dimensions, and so all published scores, rest on it.
    """
    return (table == table.min(0)).sum(0) <= 5
