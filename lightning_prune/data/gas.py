"""Readings of gas sensors, as a density."""

from pathlib import Path

import numpy as np

from lightning_prune.data.densities import Parts, TabularDensity, tail_split
from lightning_prune.data.numbers import read_columns

CORRELATED = 0.98
NOT_SENSORS = ("Meth", "Eth", "Time")


class Gas(TabularDensity):
    r"""GAS: 1,052,065 readings of chemical sensors in mixtures of ethylene and CO, 8 numbers each.

    The columns Meth, Eth and Time are left out, then, as long as there is one, the first column
    that is correlated by more than 0.98 with another. Mean and deviation are those of the whole
    set, test included: so it was published. The last tenth is the test set, the last tenth of the
    rest the validation set.

    The archive holds a pickled table, `ethylene_CO.pickle`. A pickle is a program that may do
    anything, and pandas' cannot be read without running it, so it is read here from a csv file of
    the same columns with their names: `pandas.read_pickle("ethylene_CO.pickle").to_csv(
    "ethylene_CO.csv", index=False)`, where you trust the file.

    References:
        | Gas sensor array under dynamic gas mixtures (Fonollosa, 2015)
        | https://doi.org/10.24432/C5WP4C
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA; the
            file is `<root>/gas/ethylene_CO.csv`.
        rows: At most so many points of each part, for quick runs; None for all.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given or the file missing.
        ValueError: In `setup`, if the file is damaged or foreign.
    """

    name = "GAS"
    dims = 8
    folders = ("gas", "GAS")
    files = ("ethylene_CO.csv",)

    def folder(self) -> Path:
        """Find the folder of the file, or say what is missing or how to convert the pickle."""
        try:
            return super().folder()
        except FileNotFoundError:
            for place in self.folders:
                pickled = self.root and self.root / place / "ethylene_CO.pickle"
                if pickled and pickled.is_file():
                    raise FileNotFoundError(
                        f"{pickled} is a program rather than a table and is not loaded; where you "
                        'trust it, write it to ethylene_CO.csv beside it by pandas.read_pickle("'
                        'ethylene_CO.pickle").to_csv("ethylene_CO.csv", index=False).'
                    ) from None
            raise

    def read(self, folder: Path) -> Parts:
        """Drop columns, standardise and split."""
        path = folder / "ethylene_CO.csv"
        names, table = read_columns(path)
        missing = [name for name in NOT_SENSORS if name not in names]
        if missing:
            raise ValueError(
                f"{path} has no column {missing[0]}; export the official table with its header."
            )
        table = table[:, [name not in NOT_SENSORS for name in names]]
        table = table[:, uncorrelated(table)]
        return tail_split((table - table.mean(0)) / table.std(0, ddof=1))


def uncorrelated(table: np.ndarray) -> np.ndarray:
    """Columns that stay after the first correlated one has left again and again, (kept,) int."""
    close = np.atleast_2d(np.corrcoef(table, rowvar=False)) > CORRELATED
    kept = np.arange(table.shape[1])
    while True:
        partners = close[np.ix_(kept, kept)].sum(1)  # each is its own
        if not (partners > 1).any():
            return kept
        kept = np.delete(kept, int((partners > 1).argmax()))
