"""The tally: evaluations of a field, solve by solve."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tally:
    """Counts evaluations; a plain object that a model may hold, copy and pickle.

    Attributes:
        solves: Forward solves since the last `reset`.
        forward: Evaluations in all of them.
        backward: Evaluations in the adjoint's backward solves.
    """

    solves: int = 0
    forward: int = 0
    backward: int = 0

    def reset(self) -> None:
        """Count anew."""
        self.solves = self.forward = self.backward = 0

    @property
    def per_solve(self) -> float:
        """Evaluations in one forward solve, on average; NaN before the first."""
        return self.forward / self.solves if self.solves else float("nan")
