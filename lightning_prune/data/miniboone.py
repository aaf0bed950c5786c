"""Events of the MiniBooNE experiment, as a density."""

from pathlib import Path

from lightning_prune.data.densities import (
    Parts,
    TabularDensity,
    load_array,
    standardised,
    tail_split,
    without_repeats,
)

RAW = 50


class Miniboone(TabularDensity):
    r"""MINIBOONE: 36,488 electron-neutrino events of 43 numbers.

    The archive's `data.npy` is prepared already: it has 43 columns. A table of the 50 raw columns
    is prepared here: rows whose first value is below -100 are left out, then the columns whose
    smallest value occurs more than five times. The last tenth is the test set, the last tenth of
    the rest the validation set; mean and deviation are those of what is not test.

    References:
        | MiniBooNE particle identification (Roe, 2005)
        | https://doi.org/10.24432/C5QC87
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA; the
            file is `<root>/miniboone/data.npy`.
        rows: At most so many points of each part, for quick runs; None for all.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given or the file missing.
        ValueError: In `setup`, if the file is damaged or foreign.
    """

    name = "MINIBOONE"
    dims = 43
    folders = ("miniboone", "MINIBOONE")
    files = ("data.npy",)

    def read(self, folder: Path) -> Parts:
        """Split and standardise, and before that prepare raw columns."""
        table = load_array(folder / "data.npy", (self.dims, RAW))
        if table.shape[1] == RAW:
            table = table[table[:, 0] >= -100]
            table = table[:, without_repeats(table)]
        return standardised(tail_split(table))
