"""Sentences as rows of numbers, padded when they become a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_prune.data.vocabulary import PADDING

IGNORED = -100  # the label behind a sentence's end, which torch's cross entropy leaves out


class Sentences(Dataset):
    r"""Numbers of words and tags, in pieces of at most `length` words.

    A longer sentence is cut into pieces, so that no word is lost to a metric. A batch is as long as
    its longest piece.

    Args:
        ids: Numbers of the words of each sentence.
        tags: Numbers of the tags of each sentence, as many.
        length: Words that a piece has at most.
        padded: Whether all batches are `length` long, as a network of one shape needs them.
    """

    def __init__(
        self,
        ids: Sequence[Sequence[int]],
        tags: Sequence[Sequence[int]],
        length: int,
        padded: bool = False,
    ) -> None:
        self.length, self.padded = length, padded
        self.rows = [
            (torch.tensor(words[at : at + length]), torch.tensor(labels[at : at + length]))
            for words, labels in zip(ids, tags, strict=True)
            for at in range(0, len(words), length)
        ]

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, which tells the loader that sentences depend on their number only."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.rows[index]

    def collate(self, batch: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Pad a batch: numbers of words and of tags, both (batch, length) int64."""
        longest = self.length if self.padded else max(len(words) for words, _ in batch)
        ids = torch.full((len(batch), longest), PADDING)
        tags = torch.full((len(batch), longest), IGNORED)
        for row, (words, labels) in enumerate(batch):
            ids[row, : len(words)], tags[row, : len(labels)] = words, labels
        return ids, tags
