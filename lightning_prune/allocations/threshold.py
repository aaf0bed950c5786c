"""Global allocations: one threshold for all layers, found by the budget or given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate
from lightning_prune.allocations.scales import SCALES


@dataclass(frozen=True)
class Threshold(Allocation):
    """One threshold for the whole network: the lowest scores leave, wherever they are.

    Arguments:
        floor: See `Allocation`.
        scale: Name of the scale that makes scores of different layers comparable
            (`layer_max`, `lamp`); None: the scores as they are.

    Raises:
        ValueError: There is no scale of that name.
    """

    scale: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None and self.scale not in SCALES:
            raise ValueError(f"There is no scale {self.scale!r}; there are {', '.join(SCALES)}.")

    @property
    def by_score(self) -> bool:
        """Without a scale."""
        return self.scale is None

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each: the scores, or what the scale makes of them."""
        if self.scale is None:
            return [_floating(candidate.score) for candidate in candidates]
        return [_scaled(candidate, SCALES[self.scale]) for candidate in candidates]


@dataclass(frozen=True)
class Fixed(Allocation):
    """A threshold that is given: scores at or above it stay, and `keep` is an upper bound.

    Arguments:
        floor: Has no effect; the criterion decides.
        threshold: Smallest score that stays, in the criterion's unit.
    """

    threshold: float = 0.0
    cuts: ClassVar[bool] = False

    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) each: +inf stays, -inf goes."""
        return [torch.where(c.score >= self.threshold, torch.inf, -torch.inf) for c in candidates]


def _scaled(candidate: Candidate, scale: Callable[[Tensor], Tensor]) -> Tensor:
    """(n_units,): scales see what is there only; what is gone is -inf."""
    score = _floating(candidate.score)
    if candidate.gone is None:
        return scale(score) if len(score) else score
    there = candidate.gone != 0
    values = score[there]
    scaled = scale(values) if len(values) else values
    return scaled.new_full(score.shape, -torch.inf).masked_scatter_(there, scaled)


def _floating(score: Tensor) -> Tensor:
    """Half precision exactly as float32, which the cut orders by; wider types as they are."""
    return score.float() if score.dtype in (torch.bfloat16, torch.float16) else score
