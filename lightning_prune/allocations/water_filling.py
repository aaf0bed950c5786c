"""Water-filling: every row gets the weights that lower the sum of the errors most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.allocations.base import Candidate
from lightning_prune.allocations.bernstein import Bernstein
from lightning_prune.allocations.rows import Rows
from lightning_prune.allocations.sampling import Sampled

FIRST = 2.0**500  # before every gain of a second unit, and exact
TINY = 2.0**150  # tells scores apart that are 0 in float32


@dataclass(frozen=True)
class WaterFilling(Sampled):
    r"""The counts of rows that minimise the sum of their errors, under one budget.

    A row is a filter's weights of one sign, or all units of a group that are no single weights.
    With the bound :math:`\epsilon_i(m)` of row i and :math:`l_i` one over the filters of the
    layer, :math:`\sum_i l_i \epsilon_i(m_i)` is least when units are handed out one by one to the
    row where they lower it most. So the gains :math:`l_i (\epsilon_i(m - 1) - \epsilon_i(m))` are
    an order, and its prefixes are the exact optima in whole numbers. (The relaxed problem is
    convex, and its optimum is water-filling in the multiplier of the budget.)

    The first unit of every row that scores comes before the second of any. Rows that score
    nothing have no error: what they hold, and what scores nothing in other rows, leaves first.

    References:
        | SiPPing Neural Networks: Sensitivity-informed Provable Pruning of Neural Networks
          (Baykal et al., 2019)
        | https://arxiv.org/abs/1910.05422

    Arguments:
        floor: See `Allocation`.
        select: Which units of a row stay: the best (`top`), drawn ones (`random`), or drawn ones
            where the bound for drawing is below the bound for the best (`hybrid`).
        seed: See `Sampled`.
        replace: See `Sampled`.
        bound: The error of a row.
    """

    select: str = "random"
    bound: Bernstein = field(default_factory=lambda: Bernstein("sipp"))
    selects: ClassVar[tuple[str, ...]] = ("top", "random", "hybrid")
    by_sign: ClassVar[bool] = True

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each, in float64: the gain of the unit's rank in its row.

        The first unit's would be infinite; a large multiple of what it leaves takes its place.
        Below zero where a unit scores nothing; what breaks the ties of its score orders it.
        """
        return [self._key(candidate).to(candidate.values.device) for candidate in candidates]

    def _key(self, candidate: Candidate) -> Tensor:
        rows = Rows.of(candidate, self.by_sign)
        ranks = rows.ranks()
        alpha = self.bound.alpha(rows.total, candidate.group)[rows.owner]
        first = self.bound.error(alpha, ranks) * FIRST
        gain = torch.where(ranks == 1, first, self.bound.decrease(alpha, ranks.clamp_min(2)))
        score = candidate.score.detach().cpu().double()
        scoreless = -1.0 / (1.0 + score.clamp_min(0.0) * TINY)
        filters = max(1, len(rows.total) // 2)
        return torch.where(rows.share > 0, gain / filters, scoreless)

    def certain(self, candidate: Candidate, rows: Rows, counts: Tensor) -> Tensor:
        """(n_units,): the best of the rows whose bound is not below for draws; else nothing."""
        if self.select == "random":
            return torch.zeros(len(rows.owner), dtype=torch.bool)
        best = rows.ranks() <= counts[rows.owner]
        drawn = self.error(candidate, rows, counts)
        left_out = self.bound.deterministic_error(rows.sums(rows.share * ~best))
        return best & ~(drawn < left_out)[rows.owner]
