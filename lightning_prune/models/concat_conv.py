"""Concat-conv: a field of convolutions that see time as one more channel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.models.activations import ACTIVATIONS, check_activation
from lightning_prune.models.fields import Field


class ConvField(Field):
    r"""A field of 3x3 convolutions with an activation between them, on images of any size.

    Every layer reads time as its last channel, so that it has 9 * (in + 1) * out weights and out
    biases.

    Args:
        channels: Of the state.
        hidden: Channels of the hidden layers.
        activation: "tanh", "sigmoid", "softplus" or "relu".

    Raises:
        ValueError: If a size is smaller than 1 or the activation unknown.

    References:
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        | (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367
    """

    reads_weights = True  # tangents pass through layers without calling them

    def __init__(
        self,
        channels: int,
        hidden: Sequence[int] = (64, 64, 64),
        activation: str = "softplus",
    ) -> None:
        super().__init__()
        if min([channels, *hidden]) < 1:
            raise ValueError(
                f"ConvField needs channels of at least 1, got {channels} and {[*hidden]}."
            )
        self.activation = check_activation(activation)
        sizes = [channels, *hidden, channels]
        self.layers = nn.ModuleList(
            nn.Conv2d(a + 1, b, 3, padding=1) for a, b in itertools.pairwise(sizes)
        )

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Compute the velocity of (batch, channels, height, width) states."""
        act = ACTIVATIONS[self.activation][0]
        *body, last = self.layers
        for layer in body:
            x = act(layer(_with_time(t, x)))
        return last(_with_time(t, x))

    def push(self, t: Tensor, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the velocity, and the Jacobian times each tangent.

        Args:
            t: Time, of no dimension.
            x: (batch, channels, height, width) states.
            tangents: (k, batch or 1, channels, height, width) directions.

        Returns:
            (batch, channels, height, width) velocity, and (k, batch or 1, channels, height,
            width) products of the Jacobian; with batch unless there is no hidden layer.
        """
        act, slope = ACTIVATIONS[self.activation]
        *body, last = self.layers
        for layer in body:
            inner = layer(_with_time(t, x))
            x = act(inner)
            tangents = _linear_part(layer, tangents) * slope(inner, x)
        return last(_with_time(t, x)), _linear_part(last, tangents)


def _with_time(t: Tensor, x: Tensor) -> Tensor:
    """(batch, channels + 1, height, width): time behind the channels of x."""
    return torch.cat([x, t.expand(len(x), 1, *x.shape[2:])], 1)


def _linear_part(layer: nn.Module, tangents: Tensor) -> Tensor:
    """(k, batch, in, height, width) tangents through a layer, whose time does not move."""
    # a channel of zeros costs less than it seems: a trace of the network for pruning knows whole
    # weights only, and would keep the channels of a weight whose time was cut off
    flat = F.pad(tangents.flatten(0, 1), (0, 0, 0, 0, 0, 1))
    return F.conv2d(flat, layer.weight, padding=1).unflatten(0, tangents.shape[:2])  # type: ignore[arg-type]
