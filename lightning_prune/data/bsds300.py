"""Patches of natural images, as a density."""

import importlib
from pathlib import Path

from lightning_prune.data.densities import Parts, TabularDensity


class BSDS300(TabularDensity):
    r"""BSDS300: 1,300,000 patches of 8 x 8 pixels of natural images, 63 numbers each.

    The file holds the three parts ready for use: grey values with noise, the mean of each patch
    subtracted, the last pixel left out. It is in the HDF5 format, for which the package h5py is
    needed.

    References:
        | A Database of Human Segmented Natural Images (...) (Martin, Fowlkes, Tal and Malik, 2001)
        | https://doi.org/10.1109/ICCV.2001.937655
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA; the
            file is `<root>/BSDS300/BSDS300.hdf5`.
        rows: At most so many points of each part, for quick runs; None for all.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given or the file missing.
        ModuleNotFoundError: In `setup`, if h5py is not installed.
        ValueError: In `setup`, if the file is damaged or foreign.
    """

    name = "BSDS300"
    dims = 63
    folders = ("BSDS300", "bsds300")
    files = ("BSDS300.hdf5",)

    def read(self, folder: Path) -> Parts:
        """Read the three parts."""
        path = folder / "BSDS300.hdf5"
        try:
            h5py = importlib.import_module("h5py")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{path} is in the HDF5 format; install h5py to read it (pip install h5py)."
            ) from error
        names = {"train": "train", "val": "validation", "test": "test"}
        with h5py.File(path, "r") as file:
            missing = [name for name in names.values() if name not in file]
            if missing:
                raise ValueError(f"{path} has no part {missing[0]!r}; get the official file again.")
            # what is not needed is not read
            return {part: file[name][: self.rows] for part, name in names.items()}
