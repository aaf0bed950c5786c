"""Concat-squash: layers that time gates and shifts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.models.activations import ACTIVATIONS, check_activation
from lightning_prune.models.fields import Field


class ConcatSquash(nn.Module):
    r"""A linear layer under a gate and beside a shift of time.

    :math:`y = (W x + b) \sigma(g t + g_0) + h t`, with in * out + 4 * out parameters. Gate and
    shift are vectors of their own, which single weights' pruning leaves alone and which leave
    with their neuron.

    Args:
        inputs: Size of x.
        outputs: Size of y.

    References:
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        | (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        # as the rows of linear layers whose only input is time
        self.gate, self.gate_bias, self.shift = (
            nn.Parameter(torch.empty(outputs).uniform_(-1, 1)) for _ in range(3)
        )

    def forward(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute y, and the gate that the tangents go through."""
        gate = torch.sigmoid(self.gate * t + self.gate_bias)
        return self.linear(x) * gate + self.shift * t, gate


class ConcatSquashField(Field):
    r"""A field of concat-squash layers with an activation between them.

    Args:
        dims: Size of the state.
        hidden: Sizes of the hidden layers.
        activation: "tanh", "sigmoid", "softplus" or "relu".

    Raises:
        ValueError: If a size is smaller than 1 or the activation unknown.
    """

    reads_weights = True  # tangents pass through layers without calling them

    def __init__(
        self, dims: int, hidden: Sequence[int] = (64, 64), activation: str = "tanh"
    ) -> None:
        super().__init__()
        if min([dims, *hidden]) < 1:
            raise ValueError(
                f"ConcatSquashField needs sizes of at least 1, got {dims} and {[*hidden]}."
            )
        self.activation = check_activation(activation)
        sizes = [dims, *hidden, dims]
        self.layers = nn.ModuleList(ConcatSquash(a, b) for a, b in pairwise(sizes))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Compute the velocity of (batch, dims) states."""
        act = ACTIVATIONS[self.activation][0]
        *body, last = self._layers
        for layer in body:
            x = act(layer(t, x)[0])
        return last(t, x)[0]

    @property
    def _layers(self) -> list[ConcatSquash]:
        return cast("list[ConcatSquash]", list(self.layers))

    def push(self, t: Tensor, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the velocity, and the Jacobian times each of (k, batch or 1, dims) tangents."""
        act, slope = ACTIVATIONS[self.activation]
        *body, last = self._layers
        if not body:  # or else the slopes bring the batch in
            tangents = tangents.expand(-1, len(x), -1)
        for layer in body:
            inner, gate = layer(t, x)
            x = act(inner)
            tangents = F.linear(tangents, layer.linear.weight) * (slope(inner, x) * gate)
        value, gate = last(t, x)
        return value, F.linear(tangents, last.linear.weight) * gate
