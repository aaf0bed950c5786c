"""Columns of a table as inputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

MISSING = "<missing>"


@dataclass(frozen=True)
class Columns:
    r"""Which columns of a table are inputs, and how they become numbers.

    Columns of numbers and of booleans are standardised by mean and standard deviation (of the
    population) of the training part; a missing value is the mean, that is 0. Other columns are
    one-hot over the sorted categories of the training part; a missing value is a category of its
    own if the training part has some, and a category that the training part lacks is all zeros.

    Args:
        include: Names of the columns; None for all but the target and the group.
        exclude: Names of columns to leave out.
        categorical: Names of columns of numbers that are categories.
        limit: Categories that a column can have.

    Raises:
        ValueError: If `include` is empty or `limit` smaller than 1.
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    categorical: Sequence[str] = ()
    limit: int = 100

    def __post_init__(self) -> None:
        if self.limit < 1 or (self.include is not None and not len(self.include)):
            raise ValueError("Columns needs limit >= 1, and include=null for all columns.")

    def chosen(self, frame: pd.DataFrame, reserved: Sequence[str]) -> list[str]:
        """Names of the columns that are inputs, in the order of the table.

        Args:
            frame: The table.
            reserved: Target and group, which are inputs only where `include` names them (a group)
                or never (the target, the first).

        Raises:
            ValueError: If a column is named that the table lacks, or none is left.
        """
        known = list(frame.columns)
        for name in (*(self.include or ()), *self.exclude, *self.categorical):
            if name not in known:
                raise ValueError(f"The table has no column {name!r}; it has {', '.join(known)}.")
        wanted = set(self.include or set(known) - set(reserved)) - set(self.exclude)
        names = [name for name in known if name in wanted - set(reserved[:1])]
        if not names:
            raise ValueError("No column of the table is left as an input; exclude fewer.")
        return names

    def encode(self, frame: pd.DataFrame, names: Sequence[str], train: Tensor) -> Tensor:
        """Make the inputs.

        Args:
            frame: The whole table, n rows.
            names: Columns that are inputs.
            train: Rows of the training part, which statistics and categories come from.

        Returns:
            (n, inputs) float32, the columns in the order of `names`, categories sorted.

        Raises:
            ValueError: If a column has too many categories, no value in the training part, or
                infinite ones.
        """
        blocks = [self._block(frame[name], train.numpy()) for name in names]
        return torch.from_numpy(np.concatenate(blocks, 1, dtype=np.float32))

    def _block(self, column: pd.Series, train: np.ndarray) -> np.ndarray:
        from pandas.api.types import is_bool_dtype, is_numeric_dtype

        number = is_numeric_dtype(column) or is_bool_dtype(column)
        if number and column.name not in self.categorical:
            return standardised(column.to_numpy(dtype=np.float64, na_value=np.nan), train, column)
        text = column.astype(object).where(column.notna(), MISSING).astype(str).to_numpy(dtype=str)
        categories = np.unique(text[train])
        if len(categories) > self.limit:
            raise ValueError(
                f"The column {column.name!r} has {len(categories)} categories, more than "
                f"{self.limit}; exclude it, or raise limit (data.columns.limit)."
            )
        return (text[:, None] == categories).astype(np.float64)


def standardised(values: np.ndarray, train: np.ndarray, column: pd.Series) -> np.ndarray:
    """Standardise (n,) numbers by their training part: (n, 1), missing ones 0."""
    known = values[train][~np.isnan(values[train])]
    if not len(known) or np.isinf(values).any():
        raise ValueError(
            f"The column {column.name!r} has infinite values or none in the training part; "
            "exclude it or mend it."
        )
    mean, std = known.mean(), known.std()
    return np.nan_to_num((values - mean) / (std if std > 0 else 1.0))[:, None]
