"""L-Rank's step by hand, against a search over all ranks, and what scales do to it."""

import pytest
import torch
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria.energy_per_cost import EnergyPerCost
from lightning_prune.criteria.spectral import SpectralError
from lightning_prune.lowrank import factors_of, folding_of
from lightning_prune.network.network import Network
from lightning_prune.structures.ranks import Ranks

VALUES = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5])
FALLING = 2.0 ** -torch.arange(8.0)
FLAT = 1 - 0.1 * torch.arange(8.0)


def diagonal(*values):
    """A sequence of square linear layers with these singular values."""
    layers = [nn.Linear(len(v), len(v), bias=False) for v in values]
    for layer, v in zip(layers, values, strict=True):
        layer.weight.data = torch.diag(v)
    return nn.Sequential(*layers)


def ranks(net):
    return [factors_of(layer)[1].shape[1] if folding_of(layer) else 8 for layer in net]


def test_scores_by_hand():
    """5 x 5: a rank costs 10 parameters and, applied once, 10 multiply-adds."""
    network = Network(diagonal(VALUES), None, lambda: network.model(torch.ones(1, 5)), 1)
    network.graph()
    (layer,) = network.layers
    wanted = [2.5, 0.9, 0.4, 0.1, 0.025]
    for cost in ("params", "macs"):
        assert EnergyPerCost(cost).score(layer, Ranks()).tolist() == pytest.approx(wanted)
    energies = EnergyPerCost("params", relative=True).score(layer, Ranks())
    assert energies.tolist() == pytest.approx([w / 39.25 for w in wanted])


@pytest.mark.parametrize(("price", "rank"), [(0.05, 4), (0.2, 3), (0.6, 3), (2.0, 1)])
def test_a_threshold_is_the_best_rank_at_a_price(price, rank):
    """The rank with the least price * cost + lost energy, for a rank that costs 6."""
    objective = [price * 6 * r + float(VALUES[r:].square().sum()) for r in range(6)]
    assert min(range(6), key=objective.__getitem__) == rank
    (layer,) = Network(diagonal(VALUES)).layers
    scores = EnergyPerCost("params").score(layer, Ranks()) * 10 / 6
    assert int((scores > price).sum()) == rank
    if price == 0.2:
        assert objective == pytest.approx([39.25, 15.45, 7.65, 4.85, 5.05, 6.0])


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_scaling_a_layer_moves_ranks_unless_energies_are_relative(scale):
    """Of 64 parameters, 16 a rank, the flat layer has three ranks; scaled down, one."""
    found = {}
    for name, criterion in {
        "energy": EnergyPerCost("params"),
        "relative": EnergyPerCost("params", relative=True),
        "error": SpectralError(),
    }.items():
        net = diagonal(FALLING, scale * FLAT)
        report = prune(net, Method(criterion, Ranks(), Threshold()), 0.5)
        assert report.left == 64
        found[name] = ranks(net)
    assert found["energy"] == ([1, 3] if scale == 1 else [3, 1])
    assert found["error"] == [1, 3]
    unscaled = diagonal(FALLING, FLAT)
    relative = EnergyPerCost("params", relative=True)
    prune(unscaled, Method(relative, Ranks(), Threshold()), 0.5)
    assert found["relative"] == ranks(unscaled)


def test_multiply_adds_count_positions_of_convolutions():
    """A rank of the same shape costs 16 times as much on 4 x 4 positions as on one."""
    wide, narrow = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
    narrow.weight = nn.Parameter(wide.weight.detach().clone())
    net = nn.Sequential(wide, nn.AdaptiveAvgPool2d(1), narrow)
    network = Network(net, None, lambda: net(torch.rand(2, 3, 4, 4)), 2)
    network.graph()
    first, second = (EnergyPerCost().score(layer, Ranks()) for layer in network.layers)
    assert torch.allclose(16 * first, second)


def test_groups_and_slices_add_up():
    """All directions of one place are one unit: their energies over what they cost together."""
    net = nn.Conv2d(4, 6, 3, groups=2)
    (layer,) = Network(net).layers
    score = EnergyPerCost("params").score(layer, Ranks())
    parts = [torch.linalg.svdvals(part.flatten(1)) for part in net.weight.detach().chunk(2)]
    wanted = sum(values.square() for values in parts) / (2 * (3 + 18))
    assert torch.allclose(score, wanted.double(), rtol=1e-5)


def test_end_to_end_with_traced_costs():
    """The network is traced without being asked to, and the budget is in parameters."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(128, 8),
    )
    report = prune(
        net, Method(EnergyPerCost(), Ranks(), Threshold()), 0.5, example=torch.rand(2, 3, 6, 6)
    )
    stored = sum(parameter.numel() for parameter in net.parameters())
    assert report.left == stored <= report.budget
    assert net(torch.rand(2, 3, 6, 6)).isfinite().all()


def test_a_layer_of_zeros_scores_zero():
    (layer,) = Network(diagonal(torch.zeros(3))).layers
    assert not EnergyPerCost("params", relative=True).score(layer, Ranks()).any()


def test_refusals():
    (layer,) = Network(nn.Linear(3, 3)).layers
    with pytest.raises(ValueError, match="not traced"):
        EnergyPerCost().score(layer, Ranks())
    with pytest.raises(ValueError, match="'macs' or 'params'"):
        EnergyPerCost("bytes")
    with pytest.raises(ValueError, match="one number of slices"):
        prune(nn.Linear(4, 4), Method(EnergyPerCost("params"), Ranks([1, 2]), Threshold()), 0.9)
