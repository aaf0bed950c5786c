"""Reader of csv files that hold nothing but numbers."""

import warnings
from pathlib import Path

import numpy as np


def read_columns(path: Path) -> tuple[list[str], np.ndarray]:
    r"""Read a csv file with a header and numbers below it.

    Args:
        path: The file. Where its rows are longer than the header, the first values belong to the
            names and the rest is left out.

    Returns:
        Names of the columns, and (n, columns) float64.

    Raises:
        ValueError: If it cannot be read so.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)  # rows longer than the header
            frame = pd.read_csv(path, index_col=False)
        table = frame.to_numpy(dtype=np.float64)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path} is no table of numbers with a header; get the official file again."
        ) from error
    return [str(name).strip() for name in frame.columns], table
