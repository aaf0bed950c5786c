"""Low-rank options of layers by plain decompositions, and what a selection comes to."""

import itertools
import math

import torch
from torch import nn

from lightning_prune import Method
from lightning_prune.allocations import Threshold
from lightning_prune.criteria.spectral import SpectralError
from lightning_prune.lowrank import remembered
from lightning_prune.network.network import Network
from lightning_prune.selection import select
from lightning_prune.structures.ranks import Ranks


def linear(weight):
    """A layer without a bias."""
    layer = nn.Linear(*reversed(weight.shape), bias=False).to(weight.dtype)
    layer.weight.data = weight.clone()
    return layer


def diagonal(*values):
    return linear(torch.diag(torch.tensor(values, dtype=torch.float64)))


def alds(bound="rss", slices="divisors", **options):
    return Method(SpectralError(bound), Ranks(slices), Threshold(**options))


def chosen(model, method, budget):
    """The selection of a budget for all parameters, and by layer (slices, rank or None: dense)."""
    network = Network(model)
    with remembered():
        selection = select(network, method, min(1, budget / network.params), "params")
    found = {}
    for group, (structure, gain) in selection.gains.items():
        rank = int(gain.sum())
        slices = structure.folding(group.layers[0]).slices
        found[group.name] = (slices, None if rank == len(gain) else rank)
    return selection, found


def error_of(weight, slices, rank, bound):
    """Relative, in float64, of slices along the input channels of an ungrouped layer."""
    weight = weight.detach().double()
    if rank is None:
        return 0.0
    parts = weight.chunk(slices, dim=1)
    values = torch.stack([torch.linalg.svdvals(part.flatten(1)) for part in parts])
    lost = values[:, rank] if rank < values.shape[1] else torch.zeros(slices).double()
    bounds = {
        "max": lost.max(),
        "rss": lost.square().sum().sqrt(),
        "sqrt_k": math.sqrt(slices) * lost.max(),
    }
    return float(bounds[bound] / torch.linalg.matrix_norm(weight.flatten(1), ord=2))


def options(weight, bound, slices="divisors"):
    """All (cost, error, slices, rank) of a layer that are cheaper than dense, and dense."""
    rows, channels = weight.shape[:2]
    dense = weight.numel()
    counts = [k for k in range(1, channels + 1) if channels % k == 0]
    found = [(dense, 0.0, 1, None)]
    for count in counts if slices == "divisors" else slices:
        per_rank = count * rows + dense // rows
        for rank in range(1, math.ceil(dense / per_rank)):
            found.append((rank * per_rank, error_of(weight, count, rank, bound), count, rank))
    return found


def best_error(layers, budget, bound):
    """The smallest possible largest error, by trying every combination; None: nothing fits."""
    several = [[option[:2] for option in options(layer.weight, bound)] for layer in layers]
    fits = [
        max(error for _, error in some)
        for some in itertools.product(*several)
        if sum(cost for cost, _ in some) <= budget
    ]
    return min(fits, default=None)


def largest_error(model, found, bound):
    """Of the layers of a selection."""
    modules = dict(model.named_modules())
    return max(error_of(modules[name].weight, *pair, bound) for name, pair in found.items())
