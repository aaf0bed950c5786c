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


def lamp(score: Tensor) -> Tensor:
    r"""(n_units,) float64: :math:`s_i^2 / \sum_j s_j^2` over all j that rank at or before i.

    With magnitudes as scores this is the layer-adaptive magnitude pruning score: the price, in
    the layer's own distortion, of removing the weight after all smaller ones. The best unit of
    every layer has 1, so no layer is emptied before all are down to one unit. The earlier of
    equal scores ranks before; units of score 0 get 0 and change nothing for the others.

    References:
        | Layer-adaptive Sparsity for the Magnitude-based Pruning (Lee et al., 2021)
        | https://arxiv.org/abs/2010.07611

    Raises:
        ValueError: A score is negative.
    """
    ordered, order = score.sort(descending=True, stable=True)
    if ordered[-1] < 0:
        raise ValueError(
            "The scale 'lamp' squares scores, and some are negative; use another scale or none."
        )
    # in float64: neighbours in a sum of millions of squares have to differ
    squares = ordered.double().square_()
    sums = squares.cumsum(0).clamp_min_(torch.finfo(torch.float64).tiny)
    return torch.empty_like(squares).scatter_(0, order, squares.div_(sums))


SCALES: dict[str, Callable[[Tensor], Tensor]] = {"layer_max": layer_max, "lamp": lamp}
