"""A flow as reports see it: solved tightly, with the exact trace, whatever it was trained with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.solve import TIGHT, Solver


class TightFlow(nn.Module):
    """A view of a flow that shares its parameters.

    Arguments:
        flow: With `log_prob`, `sample`, `trajectories` and `velocity`, each of which takes a
            solver where it solves.
        solver: Adaptive, of a small tolerance; None: dopri5 with tolerances of 1e-5.
    """

    def __init__(self, flow: Any, solver: Solver | None = None) -> None:
        super().__init__()
        self.flow, self.solver = flow, solver or TIGHT

    def log_prob(self, x: Tensor) -> Tensor:
        """(n,) log densities in nats."""
        return self.flow.log_prob(x, self.solver, "exact")

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count, d) points."""
        return self.flow.sample(count, generator, self.solver)

    def trajectories(self, z: Tensor, times: Tensor) -> Tensor:
        """(k, n, d) states from noise at time 1 to data at 0."""
        return self.flow.trajectories(z, times, self.solver)

    def velocity(self, t: float, x: Tensor) -> Tensor:
        """(n, d) velocities."""
        return self.flow.velocity(t, x)
