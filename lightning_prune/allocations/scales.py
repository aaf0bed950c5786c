"""Scales: what makes the scores of different layers comparable."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def layer_max(score: Tensor) -> Tensor:
    """(n_units,): scores as shares of the group's largest; zeros where all are zero.

    Raw norms of filters grow with the size of the filter, so a global threshold on them prunes
    by width; shares of the largest are free of it.
    """
    return score / score.amax().clamp_min(torch.finfo(score.dtype).tiny)


SCALES: dict[str, Callable[[Tensor], Tensor]] = {"layer_max": layer_max}
