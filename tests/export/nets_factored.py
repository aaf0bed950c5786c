"""Factored layers and networks that the tests of this folder share."""

import torch
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria.spectral import SpectralError
from lightning_prune.lowrank import balanced, factorise, folding_for
from lightning_prune.structures import Ranks

EVERY = Method(SpectralError(), Ranks("divisors", schemes=(0, 1, 2, 3)), Threshold())


def factor(layer, scheme=0, slices=1, rank=2):
    """The layer, factored in place."""
    folding = folding_for(layer, scheme, slices)
    kept = range(min(rank, folding.full_rank))
    factorise(layer, folding, *balanced(layer.weight.detach(), folding, kept))
    return layer


def conv_net():
    """Convolutions with strides, groups and norms, and two linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(24, 24, (3, 5), padding="same"),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    ).eval()


def pruned_net(keep=0.4):
    """The net, where every layer took what folding was the cheapest."""
    net = conv_net()
    prune(net, EVERY, keep)
    return net


def sliced_net():
    """The net, with slices in a convolution and a linear layer."""
    net = conv_net()
    for at, scheme, slices in ((0, 1, 1), (3, 2, 2), (5, 0, 4), (8, 0, 3), (10, 0, 1)):
        factor(net[at], scheme, slices, 3)
    return net


class Holder(nn.Module):
    """What a LightningModule is to a network."""

    def __init__(self, net=None):
        super().__init__()
        self.net = net if net is not None else conv_net()

    def forward(self, x):
        return self.net(x)
