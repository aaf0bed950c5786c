"""The guard around a field: counts, and ends what would never end."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_prune.solve.solver import SolveError


class Guard:
    """A velocity on the unit interval that torchdyn's solvers may call.

    Arguments:
        velocity: (s, x) -> dx/ds, of the shape of x.
        budget: Calls after which it raises.
        time: s -> the field's own time, for messages.
        what: Of which solve, for messages.

    Raises:
        SolveError: In a call, if the budget is spent or the velocity is not finite.
    """

    def __init__(
        self,
        velocity: Callable[[Tensor, Tensor], Tensor],
        budget: int,
        time: Callable[[float], float],
        what: str = "",
    ) -> None:
        self.velocity, self.budget, self.time, self.what = velocity, budget, time, what
        self.calls = 0
        self.reached = 0.0  # the last time of a finite velocity

    def __call__(self, t: Tensor, x: Tensor, args: object = None) -> Tensor:
        """Evaluate the field."""
        s = float(t.detach())
        if self.calls == self.budget:
            # torchdyn's steps become ever smaller where the error is NaN or the solution ends
            raise self.error("spent its budget", s, x)
        self.calls += 1
        value = self.velocity(t.reshape(()), x)
        if not finite(value):
            # a step from an error that overflowed is NaN, and so is its time
            s = s if math.isfinite(s) else self.reached
            raise self.error("met a velocity that is not finite", s, x)
        self.reached = s
        return value

    def error(self, what: str, s: float, x: Tensor) -> SolveError:
        """What went wrong, and where."""
        return SolveError(f"{self.what}{what}", self.time(s), self.calls, largest(x))


def finite(x: Tensor) -> bool:
    """Whether all entries are finite; on the meta device, where there are shapes only, True."""
    return x.is_meta or bool(torch.isfinite(x).all())


def largest(x: Tensor) -> float:
    """Largest absolute value; NaN if there is one."""
    return float(x.detach().abs().max()) if x.numel() else 0.0
