"""ODE-Net: a convolutional network with a neural ODE for its residual blocks."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from lightning_prune.models.fields import Field
from lightning_prune.models.neural_ode import NeuralODE
from lightning_prune.solve import Solver, Tally


class ODENetField(Field):
    r"""Two convolutions that see time as a channel, behind activations and group norms.

    Args:
        channels: Of the state.

    References:
        | Neural Ordinary Differential Equations (Chen et al., 2018)
        | https://arxiv.org/abs/1806.07366
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, channels)
        self.conv1 = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(1, channels)
        self.conv2 = nn.Conv2d(channels + 1, channels, 3, padding=1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Compute the velocity of (batch, channels, height, width) states."""
        time = t.expand(x.shape[0], 1, *x.shape[2:])
        x = self.conv1(torch.cat([time, self.norm1(x).relu()], 1))
        return self.conv2(torch.cat([time, self.norm2(x).relu()], 1))


class ODENet(nn.Module):
    r"""A stem, a neural ODE on its feature maps, and a linear head.

    Args:
        channels: Of the images.
        width: Channels of the state.
        classes: Number of classes.
        stride: Of each of the stem's two convolutions behind the first.
        solver: None: two steps of rk4.

    Attributes:
        tally: Counts evaluations of the field.

    Raises:
        ValueError: If a size is smaller than 1.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 16,
        classes: int = 10,
        stride: int = 2,
        solver: Solver | None = None,
    ) -> None:
        super().__init__()
        if min(channels, width, classes, stride) < 1:
            raise ValueError("ODENet needs channels, width, classes and stride of at least 1.")
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, padding=1),
        )
        self.flow = NeuralODE(ODENetField(width), solver or Solver(steps=2))
        self.norm, self.head = nn.GroupNorm(1, width), nn.Linear(width, classes)

    @property
    def tally(self) -> Tally:
        """Counts evaluations of the field."""
        return self.flow.tally

    def solved_by(self, solver: Solver) -> AbstractContextManager[None]:
        """Inside, another solver is used."""
        return self.flow.solved_by(solver)

    def forward(self, images: Tensor) -> Tensor:
        """Compute (batch, classes) logits of (batch, channels, height, width) images."""
        x = self.norm(self.flow(self.stem(images))).relu()
        return self.head(x.mean((2, 3)))
