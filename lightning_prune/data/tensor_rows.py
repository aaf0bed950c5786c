"""Rows of numbers held as tensors, fetched a batch at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


class TensorRows(Dataset):
    r"""Inputs and targets in memory; indexing gives one row, `__getitems__` a whole batch.

    Args:
        inputs: (n, inputs) float.
        targets: (n,) integer classes, or (n, 1) float.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, which tells the loader that rows depend on their number only."""

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = torch.as_tensor(indices)
        return self.inputs[rows], self.targets[rows]

    @staticmethod
    def collate(batch: Any) -> Any:
        """Pass on what `__getitems__` collated."""
        return batch
