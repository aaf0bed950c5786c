"""Splitting a data set."""

from dataclasses import dataclass

import torch
from torch import Tensor


def stratified_split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    r"""Split rows in two so that every class has its share in the second part.

    A pure function of its arguments; the global random stream is not touched.

    Args:
        labels: (n,) integer classes.
        share: Part of each class, rounded to whole rows, that goes to the second part; in [0, 1).
        seed: Which rows of a class these are.

    Returns:
        Rows that stay and rows split off, each sorted, int64; together every row once.

    Raises:
        ValueError: If the share is outside [0, 1), or nothing would stay.
    """
    if not 0 <= share < 1:
        raise ValueError(f"The share to split off must be in [0, 1), got {share}.")
    generator = torch.Generator().manual_seed(seed % 2**63)
    order = torch.randperm(len(labels), generator=generator)
    off = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = order[labels[order] == label]
        off[rows[: round(share * len(rows))]] = True
    stay, rest = (~off).nonzero()[:, 0], off.nonzero()[:, 0]
    if not len(stay):
        raise ValueError(
            f"A share of {share} of {len(labels)} samples leaves none; take a smaller one."
        )
    return stay, rest


@dataclass(frozen=True)
class Split:
    r"""How one set becomes a training, a validation and a test set.

    A pure function of its arguments: the same whatever the seed of the run, so that scores of
    several seeds compare.

    Args:
        test: Share of all samples for the test, in [0, 1).
        validation: Share of the rest that validates, in [0, 1); 0 for no validation.
        group: Column whose values are never in two parts, for tables; the shares are then shares
            of the groups, and at least one group each. None for samples that stand alone.
        seed: Which samples, or groups, these are.

    Raises:
        ValueError: If a share is outside [0, 1).
    """

    test: float = 0.2
    validation: float = 0.2
    group: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"split.{name} is a share in [0, 1), got {getattr(self, name)}.")

    def rows(
        self, count: int, labels: Tensor | None = None, groups: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Split the rows of a set.

        Args:
            count: Number of samples.
            labels: (count,) integer classes that every part has its share of, or None.
            groups: (count,) integer group of each sample, or None.

        Returns:
            The rows of "train", "val" and "test", each sorted, int64; together every row once.

        Raises:
            ValueError: If nothing, or no group, would stay for training.
        """
        labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
        rows = torch.arange(count)
        parts = {}
        for part, share in (("test", self.test), ("val", self.validation)):
            if groups is None:
                stay, off = stratified_split(labels[rows], share, self.seed)
            else:
                stay, off = group_split(groups[rows], share, self.seed)
            parts[part], rows = rows[off], rows[stay]
        return {"train": rows, "val": parts["val"], "test": parts["test"]}


def group_split(groups: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    r"""Split rows in two so that no group is in both parts.

    Args:
        groups: (n,) integer group of each row.
        share: Part of the groups, rounded to whole ones and at least one unless it is 0, that goes
            to the second part; in [0, 1).
        seed: Which groups these are.

    Returns:
        Rows that stay and rows split off, each sorted, int64; together every row once.

    Raises:
        ValueError: If no group would stay.
    """
    names = groups.unique()
    number = max(1, round(share * len(names))) if share else 0
    if number >= len(names):
        raise ValueError(
            f"A share of {share} of {len(names)} groups leaves none; take a smaller one or "
            "split by another column."
        )
    generator = torch.Generator().manual_seed(seed % 2**63)
    off = torch.isin(groups, names[torch.randperm(len(names), generator=generator)[:number]])
    return (~off).nonzero()[:, 0], off.nonzero()[:, 0]
