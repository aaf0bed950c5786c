"""The logit: pixels between 0 and 1 to the whole line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Logit:
    r"""The map :math:`y = \log s - \log (1 - s)` of :math:`s = \alpha + (1 - 2 \alpha) x`.

    Args:
        alpha: Distance that s keeps from 0 and 1, in (0, 0.5); black and white are finite.

    Raises:
        ValueError: If alpha is out of its range.

    References:
        | Density estimation using Real NVP (Dinh et al., 2017), section 4.1
        | https://arxiv.org/abs/1605.08803
    """

    alpha: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is between 0 and 0.5, got {self.alpha}.")

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Compute y, and the log determinant.

        Args:
            x: (batch, ...) values in [0, 1].

        Returns:
            (batch, ...) logits, and (batch,) sums of :math:`\log (1 - 2 \alpha) - \log s -
            \log (1 - s)`.

        Raises:
            ValueError: If s leaves (0, 1) anywhere, or is NaN.
        """
        share = 1 - 2 * self.alpha
        # 1 - s from 1 - x: taken from s, alpha would drown in the rounding of single precision
        white, black = self.alpha + share * x, self.alpha + share * (1 - x)
        if not bool(((white > 0) & (black > 0)).all()):
            raise ValueError(
                f"An image flow is one of pixels in [0, 1] and got {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}; give it images that are not standardised."
            )
        log_white, log_black = white.log(), black.log()
        each = math.log(share) - log_white - log_black
        return log_white - log_black, each.flatten(1).sum(1)

    def invert(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute x of (batch, ...) logits, and (batch,) the log determinant of this way back."""
        x = (torch.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)
        each = F.logsigmoid(y) + F.logsigmoid(-y) - math.log(1 - 2 * self.alpha)
        return x, each.flatten(1).sum(1)
