"""Flow: what the plots ask of a continuous normalising flow, and of the density of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from lightning_prune.plots.plane import looking

SEED = 0  # one for every flow of a figure, so that they start from the same noise


class Flow(Protocol):
    """A density that carries data at time 0 to standard normal noise at time 1."""

    def log_prob(self, x: Tensor) -> Tensor:
        """(n,) log densities, in nats, of (n, d) points."""

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count, d) points, of noise that a generator of the CPU draws."""

    def velocity(self, t: float, x: Tensor) -> Tensor:
        """(n, d) velocities at (n, d) points."""

    def trajectories(self, z: Tensor, times: Tensor) -> Tensor:
        """(k, n, d) states at (k,) falling times, from noise z at 1 to data at 0."""


class Mixture(Protocol):
    """Round Gaussians with equal weights."""

    @property
    def means(self) -> Tensor:
        """(modes, 2)."""

    def posterior(self, x: Tensor) -> Tensor:
        """(n, modes): how likely each mode drew each point."""


def check_flows(flows: Mapping[str, Flow]) -> None:
    """See that there are flows, and that they are of the plane.

    Raises:
        ValueError: There is none, or one has another dimension than 2.
    """
    if not flows:
        raise ValueError("There is no flow to draw.")
    for name, flow in flows.items():
        # a sample is all that tells every flow's dimension
        dimension = draw(flow, 1).shape[-1]
        if dimension != 2:
            raise ValueError(
                f"The plot shows flows of 2 dimensions, and {name!r} has {dimension}; "
                "draw its samples' projection instead."
            )


def draw(flow: Flow, count: int) -> Tensor:
    """(count, d) samples on the CPU, the same whenever they are asked for."""
    with looking(flow):
        return flow.sample(count, generator=torch.Generator().manual_seed(SEED)).cpu()


def check_points(points: Tensor) -> Tensor:
    """The points on the CPU.

    Raises:
        ValueError: They are not (n, 2).
    """
    if points.dim() != 2 or points.shape[1] != 2:
        raise ValueError(f"Points of a plane are (n, 2), not {tuple(points.shape)}.")
    return points.detach().cpu()
