"""Simulated particle collisions, as a density."""

from pathlib import Path

import numpy as np

from lightning_prune.data.densities import Parts, TabularDensity, without_repeats
from lightning_prune.data.numbers import read_columns


class Hepmass(TabularDensity):
    r"""HEPMASS: 525,123 simulated collisions of a particle of mass 1000, 21 numbers each.

    Of both files the rows with the label 1 are kept and the label (first column) left out; of the
    test file also the last column, which the training file lacks. Mean and deviation are those of
    the training file; then columns whose smallest value occurs in it more than five times are left
    out. The last tenth of the training file is the validation set.

    References:
        | Parameterized Machine Learning for High-Energy Physics (Baldi et al., 2016)
        | https://arxiv.org/abs/1601.07913
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA; the
            files are `1000_train.csv` and `1000_test.csv` in `<root>/hepmass`.
        rows: At most so many points of each part, for quick runs; None for all.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given or a file missing.
        ValueError: In `setup`, if a file is damaged or foreign.
    """

    name = "HEPMASS"
    dims = 21
    folders = ("hepmass", "HEPMASS")
    files = ("1000_train.csv", "1000_test.csv")

    def read(self, folder: Path) -> Parts:
        """Select rows and columns, standardise and split."""
        train, test = (signal(folder / file) for file in self.files)
        test = test[:, :-1]
        if train.shape[1] != test.shape[1] or not len(train):
            raise ValueError(
                f"{self.name} in {folder} has {train.shape[1]} and {test.shape[1]} columns for "
                "training and test; get the official files again."
            )
        mean, std = train.mean(0), train.std(0, ddof=1)
        kept = without_repeats(train)
        train, test = (((part - mean) / std)[:, kept] for part in (train, test))
        val = len(train) // 10
        return {"train": train[: len(train) - val], "val": train[len(train) - val :], "test": test}


def signal(path: Path) -> np.ndarray:
    """Rows of collisions that made the particle, without the label: (n, columns) float64."""
    table = read_columns(path)[1]
    return table[table[:, 0] == 1, 1:]
