"""Electric power use of a household, as a density."""

from pathlib import Path

import numpy as np

from lightning_prune.data.densities import (
    Parts,
    TabularDensity,
    load_array,
    standardised,
    tail_split,
)


class Power(TabularDensity):
    r"""POWER: 2,049,280 minutes of a household's power use, 6 numbers each.

    Of `data.npy`'s columns (global active and reactive power, voltage, global intensity, three
    sub-meterings, minute of the day) reactive power and intensity are left out. Rows are shuffled
    and uniform noise is added to what was rounded, both by numpy's RandomState(42): 0.001 to active
    power, 0.01 to the voltage, 1 to the sub-meterings. The last tenth is the test set, the last
    tenth of the rest the validation set; mean and deviation are those of what is not test.

    References:
        | Individual Household Electric Power Consumption (Hebrail and Berard, 2006)
        | https://doi.org/10.24432/C58K54
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA; the
            file is `<root>/power/data.npy`.
        rows: At most so many points of each part, for quick runs; None for all.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given or the file missing.
        ValueError: In `setup`, if the file is damaged or foreign.
    """

    name = "POWER"
    dims = 6
    folders = ("power", "POWER")
    files = ("data.npy",)

    def read(self, folder: Path) -> Parts:
        """Shuffle, drop columns, add noise, split and standardise."""
        table = load_array(folder / "data.npy", (8,))
        random = np.random.RandomState(42)
        count = len(table)
        # the same order as by shuffling the rows themselves, and far faster
        table = table[random.permutation(count)][:, [0, 2, 4, 5, 6, 7]]
        # drawn in this order, which is not that of the columns
        table[:, 1:2] += 0.01 * random.rand(count, 1)
        table[:, 0:1] += 0.001 * random.rand(count, 1)
        table[:, 2:5] += random.rand(count, 3)
        return standardised(tail_split(table))
