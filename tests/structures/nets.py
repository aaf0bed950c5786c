"""Small networks, each with one way in which layers share channels.

`repair` adapts the numbers of channels that a forward has written into its code, for the copy
that is really cut.
"""

import torch
import torch.nn.functional as F
from thin import kept_indices
from torch import nn


def chain():
    """Convolution, norm, pooling, and a flatten in which a channel is four columns."""
    return nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(),
        nn.Conv2d(10, 12, 3, bias=False), nn.BatchNorm2d(12), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Conv2d(12, 11, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(44, 10), nn.Softplus(), nn.Linear(10, 4),
    )  # fmt: skip


def perceptron():
    return nn.Sequential(
        nn.Linear(5, 12), nn.Sigmoid(), nn.Linear(12, 13), nn.GELU(), nn.Linear(13, 3)
    )


class Residual(nn.Module):
    """An identity and a 1x1 shortcut; a stream that four layers make."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3)
        self.first = nn.Sequential(nn.Conv2d(10, 11, 3, padding=1), nn.ReLU(), nn.Conv2d(11, 10, 1))
        self.norm = nn.BatchNorm2d(10)
        self.second = nn.Conv2d(10, 12, 3, 2, 1)
        self.shortcut = nn.Conv2d(10, 12, 1, 2)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.norm(self.first(x)))
        x = self.second(x).add_(self.shortcut(x))
        return self.head(F.silu(x).mean((2, 3)))


class Concat(nn.Module):
    """Dense connections, with the input among them, and two halves read apart."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.norm = nn.BatchNorm2d(13)
        self.second = nn.Conv2d(13, 12, 3, padding=1)
        self.third = nn.Conv2d(22, 20, 1)
        self.left, self.right = nn.Linear(10, 3), nn.Linear(10, 3)

    def forward(self, x):
        a = self.first(x)
        b = self.second(F.relu(self.norm(torch.cat([x, a], 1))))
        c = self.third(torch.cat([a, F.elu(b)], dim=1)).mean((2, 3))
        left, right = c.split([self.left.in_features, self.right.in_features], dim=1)
        return self.left(left) + self.right(right)


def depthwise():
    """Separable convolutions, one with two outputs a channel."""
    return nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.ReLU6(), nn.Conv2d(10, 10, 3, groups=10), nn.BatchNorm2d(10),
        nn.Hardswish(), nn.Conv2d(10, 11, 1), nn.PReLU(11), nn.Conv2d(11, 22, 3, groups=11),
        nn.Upsample(scale_factor=2), nn.Conv2d(22, 3, 1), nn.Flatten(), nn.Linear(108, 2),
    )  # fmt: skip


def decoder():
    """Transposed convolutions, full and depthwise."""
    return nn.Sequential(
        nn.Conv2d(3, 10, 3, 2), nn.LeakyReLU(), nn.ConvTranspose2d(10, 12, 3, 2),
        nn.InstanceNorm2d(12, affine=True, track_running_stats=True), nn.Tanh(),
        nn.ConvTranspose2d(12, 12, 2, groups=12), nn.GroupNorm(12, 12), nn.Mish(),
        nn.ConvTranspose2d(12, 11, 1, bias=False), nn.ReLU(), nn.Conv2d(11, 3, 1),
    )  # fmt: skip


class Grouped(nn.Module):
    """Convolutions in groups, transposed too, whose groups are of other sizes in and out."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 36, 3, 1, 1, groups=12)
        self.norm, self.shortcut = nn.BatchNorm2d(36), nn.Conv2d(24, 36, 1)
        self.spread = nn.ConvTranspose2d(36, 24, 2, groups=12)
        self.narrow, self.head = nn.Conv2d(24, 44, 1, groups=4), nn.Conv2d(44, 3, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.norm(self.grouped(x))) + self.shortcut(x)
        return self.head(F.gelu(self.narrow(self.spread(x))))


class GroupNorms(nn.Module):
    """Norms over several channels each, of which two in a row cut a stream differently."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 24, 3), nn.GroupNorm(12, 24)
        self.block, self.second = nn.Conv2d(24, 24, 3, padding=1), nn.GroupNorm(8, 24)
        self.inner, self.third = nn.Conv2d(24, 40, 1), nn.GroupNorm(10, 40)
        self.head = nn.Conv2d(40, 3, 1)

    def forward(self, x):
        x = F.relu(self.first(self.stem(x)))
        x = x + self.second(self.block(x)).sigmoid()
        return self.head(F.silu(self.third(self.inner(x))))


class SqueezeExcitation(nn.Module):
    """Channels that gate themselves, and a learned scale."""

    def __init__(self):
        super().__init__()
        self.stem, self.scale = nn.Conv2d(3, 10, 3), nn.Parameter(torch.ones(10, 1, 1))
        self.squeeze, self.excite = nn.Conv2d(10, 11, 1), nn.Conv2d(11, 10, 1)
        self.head = nn.Conv2d(10, 4, 3)

    def forward(self, x):
        x = F.relu(self.stem(x)) * self.scale
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return self.head(gate * x).amax((2, 3))


class Padded(nn.Module):
    """The shortcut without parameters: every second pixel, zeros around the channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 10, 3), nn.Conv2d(10, 20, 3, 2, 1)
        self.norm, self.second = nn.BatchNorm2d(20), nn.Conv2d(20, 20, 3, padding=1)
        self.head = nn.Linear(20, 4)
        self.shortcut = lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 5, 5))

    def repair(self, gains):
        stem = kept_indices(gains, "stem", "weight", 0, 10).tolist()
        out = kept_indices(gains, "second", "weight", 0, 20).tolist()
        places = [stem.index(j - 5) if j - 5 in stem else len(stem) for j in out]
        assert all((j - 5 in stem) == (j in out) for j in range(5, 15))
        self.shortcut = lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 1))[:, places]

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.second(F.relu(self.norm(self.first(x)))) + self.shortcut(x)
        return self.head(F.relu(x).flatten(2).mean(-1))


class Tokens(nn.Module):
    """Images as tokens: layers on the last of three dimensions, a gated unit, layer norms."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 8, 2, 2), nn.LayerNorm(8)
        self.up, self.gated, self.down = nn.Linear(8, 12), nn.Linear(12, 20), nn.Linear(10, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x + self.down(F.glu(self.gated(F.gelu(self.up(self.norm(x)))), dim=-1))
        return self.head(x.mean(1))


class Cells(nn.Module):
    """A recurrence by hand from a state of zeros, with weights used once a step."""

    def __init__(self):
        super().__init__()
        self.read, self.keep, self.head = nn.Linear(3, 11), nn.Linear(11, 11), nn.Linear(11, 2)

    def forward(self, x):
        state = x.new_zeros(len(x), self.keep.in_features)
        for step in x.flatten(2).unbind(2)[:4]:
            state = torch.tanh(self.read(step) + self.keep(state))
        return self.head(state)


NETS = {
    "chain": chain, "residual": Residual, "concat": Concat, "depthwise": depthwise,
    "grouped": Grouped, "group norms": GroupNorms,
    "decoder": decoder, "squeeze-excitation": SqueezeExcitation, "tokens": Tokens,
    "padded": Padded, "cells": Cells,
}  # fmt: skip
