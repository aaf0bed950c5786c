"""Tables in csv files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from lightning_prune.data.columns import Columns
from lightning_prune.data.module import ResumableData
from lightning_prune.data.split import Split
from lightning_prune.data.tensor_rows import TensorRows

if TYPE_CHECKING:
    import pandas as pd


class Table(ResumableData):
    r"""A csv file with a header, one column of which is predicted from others.

    Batches are (batch, inputs) float32 and, for classification, (batch,) int64, for regression
    (batch, 1) float32. Rows without a target are left out. Everything that is measured (means,
    standard deviations, categories) is measured on the training part.

    Args:
        path: The file.
        target: Name of the column to predict.
        task: "regression", or "classification" over the sorted values of the target.
        columns: Which columns are inputs, and how; by default all but target and group.
        split: How test and validation set are split off.
        inputs: Number of inputs that the network expects; None for any.
        classes: Number of classes that the network expects; None for any. 1 for regression.
        standardize: Whether the target of a regression is standardised; errors are then in standard
            deviations of the training part.
        separator: What stands between two values in the file.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Attributes:
        names: Columns that are inputs.
        labels: Values of the target that are the classes, in order; empty for regression.
        mean: What was subtracted from the target of a regression.
        std: What the difference was divided by.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if there is no such file.
        ValueError: If an argument is out of its range; in `setup`, if the table does not fit them.
    """

    name = "Table"

    def __init__(  # noqa: PLR0913
        self,
        path: str | os.PathLike[str] | None = None,
        target: str | None = None,
        task: Literal["classification", "regression"] = "regression",
        columns: Columns | None = None,
        split: Split | None = None,
        *,
        inputs: int | None = None,
        classes: int | None = None,
        standardize: bool = True,
        separator: str = ",",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if task not in ("classification", "regression"):
            raise ValueError(f'task is "classification" or "regression", got {task!r}.')
        self.path = None if path is None else Path(path).expanduser()
        self.target, self.task = target, task
        self.columns, self.split = columns or Columns(), split or Split()
        self.inputs, self.classes = inputs, classes
        self.standardize, self.separator = standardize, separator
        self.labels: list[Any] = []
        self.mean, self.std = 0.0, 1.0

    def prepare_data(self) -> None:
        """Look for the file."""
        self.file()

    def setup(self, stage: str | None = None) -> None:
        """Read, split and encode the table, once."""
        if self.sets:
            return
        frame = self.read()
        targets, groups = frame[self.target], self.groups(frame)
        classes = targets_as_classes(targets) if self.task == "classification" else None
        rows = self.split.rows(len(frame), classes, groups)
        reserved = [str(self.target)] + ([self.split.group] if self.split.group else [])
        self.names = self.columns.chosen(frame, reserved)
        inputs = self.columns.encode(frame, self.names, rows["train"])
        if classes is None:
            values = self.scaled(targets, rows["train"])
            count = 1
        else:
            self.labels = sorted(targets.unique().tolist())
            values, count = classes, len(self.labels)
        self.agree("inputs", self.inputs, inputs.shape[1])
        self.agree("classes", self.classes, count)
        self.sets = {part: TensorRows(inputs[of], values[of]) for part, of in rows.items()}

    def read(self) -> pd.DataFrame:
        """Read the rows that have a target."""
        import pandas as pd

        path = self.file()
        try:
            frame = pd.read_csv(path, sep=self.separator, na_values=["?"], low_memory=False)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as a table with a header: {error}.") from error
        for role, name in (("target", self.target), ("group", self.split.group)):
            if name not in frame and (role == "target" or name is not None):
                raise ValueError(
                    f"{path} has no column {name!r} for the {role}; it has "
                    f"{', '.join(map(str, frame.columns))}."
                )
        frame = frame[frame[self.target].notna()].reset_index(drop=True)
        if not len(frame):
            raise ValueError(f"{path} has no row with a value of {self.target!r}.")
        return frame

    def groups(self, frame: pd.DataFrame) -> Tensor | None:
        """Number the groups, missing values as one more; None without a group column."""
        if self.split.group is None:
            return None
        names = frame[self.split.group]
        # by name, so that the order of the rows plays no part
        codes = names.astype(str).where(names.notna(), "").rank(method="dense")
        return torch.tensor(codes.astype("int64").tolist())

    def scaled(self, targets: pd.Series, train: Tensor) -> Tensor:
        """Make (n, 1) targets of a regression, standardised if that was asked for."""
        try:
            values = torch.tensor(targets.to_numpy(dtype="float64"))[:, None]
        except ValueError as error:
            raise ValueError(
                f"The target {self.target!r} is not a column of numbers; take "
                'task="classification" or another column.'
            ) from error
        if self.standardize:
            self.mean = float(values[train].mean())
            self.std = float(values[train].std(correction=0)) or 1.0
        return ((values - self.mean) / self.std).float()

    def agree(self, what: str, announced: int | None, found: int) -> None:
        """Refuse a network that was built for another number."""
        if announced is not None and announced != found:
            raise ValueError(
                f"{self.path} gives {found} {what} and the network is built for {announced}; set "
                f"{what}={found} (dataset.{what}={found} on the command line)."
            )

    def file(self) -> Path:
        """Refuse a file that is not there."""
        if self.path is None or not self.path.is_file():
            raise FileNotFoundError(
                f"There is no table {self.path}; pass path= (data.path= on the command line), a "
                "csv file with a header."
            )
        return self.path


def targets_as_classes(targets: pd.Series) -> Tensor:
    """Number the sorted values of a column: (n,) int64 from 0 on."""
    values = sorted(targets.unique().tolist())
    codes = targets.map({value: number for number, value in enumerate(values)})
    return torch.tensor(codes.tolist())
