"""Splitting a training set."""

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
