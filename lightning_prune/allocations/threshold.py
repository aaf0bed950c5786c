"""Global allocations: one threshold for all layers, found by the budget or given."""

from __future__ import annotations

from collections.abc import Sequence
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
            (`layer_max`); None: the scores as they are.

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
        """(n_units,) each: score / scale."""
        scores = [_floating(candidate.score) for candidate in candidates]
        return scores if self.scale is None else [SCALES[self.scale](score) for score in scores]


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


def _floating(score: Tensor) -> Tensor:
    """Half precision exactly as float32, which the cut orders by; wider types as they are."""
    return score.float() if score.dtype in (torch.bfloat16, torch.float16) else score
