"""A cubic Hermite spline through states and their velocities."""

from __future__ import annotations

import torch
from torch import Tensor


class Hermite:
    """Interpolates between knots, with an error of fourth order in their distance.

    Arguments:
        times: (k,) rising.
        states: (k, ...) at these times.
        slopes: (k, ...) derivatives there.
    """

    def __init__(self, times: Tensor, states: Tensor, slopes: Tensor) -> None:
        self.times, self.states, self.slopes = times, states, slopes

    def __call__(self, time: Tensor) -> Tensor:
        """The state at a time between the first knot and the last."""
        last = len(self.times) - 2
        place = int(torch.searchsorted(self.times, time.reshape(1), right=True)) - 1
        place = min(max(place, 0), last)
        width = self.times[place + 1] - self.times[place]
        u = (time - self.times[place]) / width
        x0, x1 = self.states[place], self.states[place + 1]
        v0, v1 = width * self.slopes[place], width * self.slopes[place + 1]
        rest = 1 - u
        return (
            (1 + 2 * u) * rest**2 * x0
            + u * rest**2 * v0
            + u**2 * (3 - 2 * u) * x1
            - u**2 * rest * v1
        )
