"""Equal error: every layer keeps the channels that one relative error takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.allocations.base import Candidate
from lightning_prune.allocations.bernstein import Bernstein
from lightning_prune.allocations.distinct import SLACK, adaptive_draws
from lightning_prune.allocations.rows import Rows
from lightning_prune.allocations.sampling import Sampled


@dataclass(frozen=True)
class EqualError(Sampled):
    r"""The same bound on the relative error for every layer, as small as the budget allows.

    A layer with the sensitivities s meets the error :math:`\epsilon` with
    :math:`m(\epsilon) = \lceil \alpha (6 + 2 \epsilon) / (3 \epsilon^2) \rceil` draws in
    proportion to s, which meet :math:`u(\epsilon) = \lceil \sum_c 1 - (1 - p_c)^{m} \rceil`
    different channels, p being s over its sum. The key of the r-th channel of a layer is the
    largest error for which u is r or more, so that a cut at any error leaves u of it in every
    layer: the order is the bisection over all errors at once.

    Layers of whose channels none scores, and channels that score nothing, leave first.

    References:
        | Provable Filter Pruning for Efficient Neural Networks (Liebenwein et al., 2020)
        | https://arxiv.org/abs/1911.07412

    Arguments:
        floor: See `Allocation`.
        select: Which units of a group stay: the best (`top`); drawn ones (`random`); or those
            whose p is at least one over the number of draws, and of the others drawn ones
            (`partial`).
        seed: See `Sampled`.
        replace: See `Sampled`.
        bound: The error of a layer.
    """

    bound: Bernstein = field(default_factory=lambda: Bernstein("pfp"))
    selects: ClassVar[tuple[str, ...]] = ("top", "random", "partial")

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each, in float64: the error from which on the unit is not needed.

        Infinite for the first of a group; -r / n for the unit of rank r among n that scores
        nothing.
        """
        return [self._key(candidate).to(candidate.values.device) for candidate in candidates]

    def _key(self, candidate: Candidate) -> Tensor:
        rows = Rows.of(candidate, by_sign=False)
        ranks = rows.ranks()
        scoring = rows.share > 0
        key = ranks / -len(ranks)
        if bool(scoring.any()):
            p = rows.share[scoring] / rows.total
            alpha = self.bound.alpha(rows.total, candidate.group)
            # at an error just below, the draws round up to what the rank takes
            draws = adaptive_draws(p, torch.arange(1, len(p) + 1)) - 1
            error = torch.where(draws > 0, self.bound.error(alpha, draws), torch.inf)
            key[scoring] = error[ranks[scoring].long() - 1]
        return key

    def error(self, candidate: Candidate, rows: Rows, counts: Tensor) -> Tensor:
        """(1,): of as many draws as are expected to meet so many different channels."""
        scoring = rows.share > 0
        draws = adaptive_draws(rows.share[scoring] / rows.total, counts)
        return self.bound.error(self.bound.alpha(rows.total, candidate.group), draws)

    def certain(self, candidate: Candidate, rows: Rows, counts: Tensor) -> Tensor:
        """(n_units,): for `partial` those with p of one over the draws or more, else nothing."""
        nothing = torch.zeros(len(rows.owner), dtype=torch.bool)
        scoring = rows.share > 0
        count = int(counts)
        if self.select == "random" or not bool(scoring.any()):
            return nothing
        best = rows.ranks() <= count
        if count <= 1 or count >= int(scoring.count_nonzero()):
            return best
        p = rows.share / rows.total
        draws = adaptive_draws(p[scoring], counts)
        return best & (p * draws >= 1 - SLACK)
