"""The entropy of the two-armed spiral."""

from functools import lru_cache

import torch
from torch import Tensor

TURN = 780 * 2 * torch.pi / 360  # angle, and radius, at which torchdyn's arms end


@lru_cache(maxsize=8)
def spiral_entropy(noise: float, cells: int = 32) -> float:
    r"""Entropy in nats of torchdyn's two-armed spiral with uniform noise, by quadrature.

    A point of the first arm is (-n cos n, n sin n) + noise * (U, U'), with n = TURN * sqrt(U'')
    and U, U', U'' uniform in [0, 1); the second arm is the first one mirrored at the origin. So the
    density of the first arm at x is the share of the curve that lies within the square of side
    `noise` below x, divided by the square's area. The shares are counted in small cells and summed
    over the squares, and -p log p is integrated over the corners of the cells.

    Args:
        noise: Side of the square that the noise fills, positive.
        cells: Cells along that side. From 16 on the entropy changes by less than 1e-3 (noise 0.5
            and 0.9).

    Returns:
        The entropy in the coordinates in which the spiral was made.

    Raises:
        ValueError: If the noise is not positive, since a curve has no density.
    """
    if not noise > 0 or cells < 1:
        raise ValueError(f"The spiral has a density only with noise > 0, got {noise}.")
    step = noise / cells
    half = int((TURN + noise) / step) + 2  # cells from the origin to the border
    first = curve_shares(step, half)
    sums = torch.zeros(2 * half + 1, 2 * half + 1, dtype=torch.float64)
    sums[1:, 1:] = first.cumsum(0).cumsum(1)
    inside = torch.zeros_like(sums)
    inside[cells:, cells:] = (
        sums[cells:, cells:]
        - sums[:-cells, cells:]
        - sums[cells:, :-cells]
        + sums[:-cells, :-cells]
    )
    # differences of sums leave a rounding error where nothing is
    arm = inside.clamp(min=0) / noise**2
    density = (arm + arm.flip(0, 1)) / 2
    return -float(torch.xlogy(density, density).sum()) * step**2


def curve_shares(step: float, half: int, points: int = 2**21) -> Tensor:
    """Share of the first arm's curve in each cell, (2 half, 2 half) float64 with the sum 1."""
    n = TURN * ((torch.arange(points, dtype=torch.float64) + 0.5) / points).sqrt()
    across = (-n * n.cos() / step).floor().long() + half
    up = (n * n.sin() / step).floor().long() + half
    counts = torch.bincount(across * 2 * half + up, minlength=(2 * half) ** 2)
    return counts.view(2 * half, 2 * half).double() / points
