"""Mixtures of isotropic Gaussians, whose density and entropy are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NODES = 64  # per axis and component; the entropy of overlapping components is then good to 1e-6
DRAWS = 2**14  # per component, where the dimensions are too many for quadrature


@dataclass(frozen=True, eq=False)
class Mixture:
    r"""A mixture of isotropic Gaussians: p(x) = sum_k w_k N(x; mean_k, std_k^2 I).

    Everything is computed in the precision of `means`; densities are with respect to the units of
    the coordinates, logarithms are natural.

    Args:
        means: (m, d) centres of the components.
        stds: (m,) standard deviation of each component along every axis, positive.
        weights: (m,) positive, with the sum 1; None for equal ones.

    Raises:
        ValueError: If the shapes do not fit, or a standard deviation or weight is not positive.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        weights = self.log_weights().exp()
        if self.means.ndim != 2 or not len(self.means) == len(self.stds) == len(weights):
            raise ValueError(
                "Mixture needs means of (m, d) and m stds and weights, got shapes "
                f"{tuple(self.means.shape)}, {tuple(self.stds.shape)} and {tuple(weights.shape)}."
            )
        total = float(weights.sum())
        if not (bool((self.stds > 0).all() and (weights > 0).all()) and math.isclose(
            total, 1, abs_tol=1e-4
        )):  # fmt: skip
            raise ValueError(
                "Mixture needs positive stds, and positive weights that add up to 1; "
                f"they add up to {total:.6g}."
            )

    def log_weights(self) -> Tensor:
        """Logarithms of the weights, (m,)."""
        if self.weights is None:
            return torch.full_like(self.stds, -math.log(max(len(self.stds), 1)))
        return self.weights.to(self.means).log()

    def joint(self, points: Tensor) -> Tensor:
        """Log-density of each point together with each component: (n, d) to (n, m)."""
        stds, dims = self.stds, self.means.shape[1]
        # not by the expanded square, which loses digits far from the origin
        squares = (points.to(self.means)[:, None] - self.means).square().sum(2)
        norm = dims * (stds.log() + math.log(2 * math.pi) / 2)
        return self.log_weights() - norm - squares / (2 * stds.square())

    def log_prob(self, points: Tensor) -> Tensor:
        """Log-density of each point in nats: (n, d) to (n,)."""
        return self.joint(points).logsumexp(1)

    def posterior(self, points: Tensor) -> Tensor:
        """Probability of each component given a point: (n, d) to (n, m), rows with the sum 1."""
        return self.joint(points).softmax(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        r"""Draw points.

        Args:
            n: How many.
            generator: Where the random numbers come from, on the CPU; None for torch's own.

        Returns:
            (n, d) points and the (n,) int64 component of each.
        """
        chances = self.log_weights().exp().cpu()
        which = torch.multinomial(chances, n, replacement=True, generator=generator)
        which = which.to(self.means.device)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[which] + self.stds[which, None] * noise.to(self.means), which

    def entropy(self) -> float:
        r"""Differential entropy in nats, which no density's mean -log p can stay below.

        The mean of -log p over each component is taken by Gauss-Hermite quadrature in one and two
        dimensions. Above, it is a fixed draw of 16,384 points from each component.
        """
        points, shares = self.unit_points()
        exact = Mixture(
            self.means.double(),
            self.stds.double(),
            None if self.weights is None else self.weights.double(),
        )
        weights = exact.log_weights().exp().tolist()
        total = 0.0
        for weight, mean, std in zip(weights, exact.means, exact.stds, strict=True):
            total -= weight * float(shares @ exact.log_prob(mean + std * points))
        return total

    def unit_points(self) -> tuple[Tensor, Tensor]:
        """Points, and shares with the sum 1, that stand for a standard normal distribution."""
        dims, device = self.means.shape[1], self.means.device
        if dims > 2:
            generator = torch.Generator().manual_seed(0)
            drawn = torch.randn(DRAWS, dims, generator=generator, dtype=torch.float64).to(device)
            return drawn, torch.full_like(drawn[:, 0], 1 / DRAWS)
        # for the weight exp(-x^2 / 2), not the physicists' exp(-x^2)
        nodes, shares = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
        shares = shares / shares.sum()
        points = torch.cartesian_prod(*[nodes] * dims).view(-1, dims)
        weights = torch.cartesian_prod(*[shares] * dims).view(-1, dims).prod(1)
        return points.to(device), weights.to(device)

    def scaled(self, shift: float | Tensor, scale: float) -> Mixture:
        r"""Describe the points (x - shift) / scale.

        Args:
            shift: What is subtracted, a number or (d,).
            scale: What the difference is divided by, positive; one for all axes, so that the
                components stay isotropic.
        """
        return Mixture((self.means - shift) / scale, self.stds / scale, self.weights)
