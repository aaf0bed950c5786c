"""Ties: equal scores ordered by the magnitude of the units, without changing a score."""

from __future__ import annotations

import torch
from torch import Tensor


def ties_broken(score: Tensor, magnitude: Tensor) -> Tensor:
    """(n_units,) float64 that order as the pairs (score, magnitude) and round to the scores.

    A score has 29 bits less in float32 than in float64. They hold the magnitude: `.float()`
    of the result is `score.float()` bit for bit, zeros included, and scores that differ in
    float32 keep their order. Of the magnitude it is the leading bits that count, to one part in
    500,000; of zero scores all of its float32.

    Arguments:
        score: (n_units,), non-negative; what differs beyond float32 counts as equal.
        magnitude: (n_units,), non-negative.
    """
    first = score.float().double()
    # the bits of non-negative floats, read as whole numbers, order as the floats do
    within = magnitude.float().contiguous().view(torch.int32).double() * 2.0**-31
    # less than half a step of float32 above the score, less than half its smallest number above 0
    return torch.where(first == 0, within * 2.0**-150, first * (1 + within * 2.0**-25))
