"""Divergence: the trace of a field's Jacobian, exactly or by probes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_prune.models.fields import Field

Trace = Literal["exact", "rademacher", "gaussian"]
TRACES = ("exact", "rademacher", "gaussian")


class LogDetField(nn.Module):
    r"""A field on states with one more column, whose velocity is the divergence.

    :math:`\frac{d}{dt} (x, l) = (f(t, x), \mathrm{tr} \, \partial f / \partial x)`.

    Args:
        field: On states of any shape.
        shape: Of one state.
    """

    def __init__(self, field: Field, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.field, self.shape = field, shape

    def forward(self, t: Tensor, state: Tensor, probe: Tensor | None = None) -> Tensor:
        """Compute the velocity of (batch, size + 1) states.

        Args:
            t: Time, of no dimension.
            state: The flattened x, and l in the last column.
            probe: (k, batch, size): the divergence is their mean product with the Jacobian; None:
                the divergence itself.
        """
        flat = state[:, :-1]
        x = flat.view(-1, *self.shape)
        if probe is None:
            dx, divergence = self.field.divergence(t, x)
        else:
            dx, pushed = self.field.push(t, x, probe.view(len(probe), -1, *self.shape))
            divergence = (probe * pushed.flatten(2)).sum(2).mean(0)
        return torch.cat([dx.flatten(1), divergence[:, None]], 1)


def draw_probe(trace: Trace, x: Tensor, probes: int) -> Tensor | None:
    """Directions for a solve: (probes, batch, size); None for the exact trace.

    Rademacher signs have the smaller variance of the two: the diagonal of the Jacobian has none.
    """
    if trace == "exact":
        return None
    like = x.flatten(1).expand(probes, -1, -1)
    if trace == "gaussian":
        return torch.randn(like.shape, dtype=x.dtype, device=x.device)
    return torch.randint(0, 2, like.shape, device=x.device).to(x.dtype) * 2 - 1
