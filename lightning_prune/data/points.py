"""Points held as a tensor, without labels, fetched a batch at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Points(Dataset):
    r"""Points in memory; indexing gives one, (d,), `__getitems__` a whole batch, (batch, d).

    Args:
        points: (n, d) float.
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, which tells the loader that points depend on their number only."""

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Tensor:
        return self.points[index]

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        return self.points[torch.as_tensor(indices)]

    @staticmethod
    def collate(batch: Any) -> Any:
        """Pass on what `__getitems__` collated."""
        return batch
