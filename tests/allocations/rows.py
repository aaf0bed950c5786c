"""Rows to draw from, without a network."""

import torch

from lightning_prune.allocations.rows import Rows


def rows_of(*shares):
    """One row for every list of shares."""
    sizes = torch.tensor([len(share) for share in shares])
    share = torch.tensor([value for row in shares for value in row], dtype=torch.float64)
    owner = torch.arange(len(shares)).repeat_interleave(sizes)
    total = torch.zeros(len(shares), dtype=torch.float64).index_add_(0, owner, share)
    order = share.argsort(descending=True, stable=True)
    return Rows(owner, share, total, order[owner[order].argsort(stable=True)])


def repeated(share, times):
    """The same row many times, which one call draws from independently."""
    return rows_of(*[share] * times)
