"""Steps: the largest error of all layers is the smallest that a budget of parameters allows."""

import math
import random

import pytest
import torch
from ranked import alds, best_error, chosen, diagonal, error_of, largest_error, linear, options
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold, Uniform
from lightning_prune.criteria import Magnitude
from lightning_prune.criteria.spectral import SpectralError, TailError
from lightning_prune.structures.ranks import Ranks

BOUNDS = pytest.mark.parametrize("bound", ["max", "rss", "sqrt_k"])


def pair(scale=1.0):
    """8 x 8 each, 16 parameters a rank: values that halve, and values that fall by 0.1."""
    halving, falling = [2.0**-i for i in range(8)], [scale * (1 - 0.1 * i) for i in range(8)]
    return nn.Sequential(diagonal(*halving), diagonal(*falling))


# worked out by hand for 64 of the 128 parameters: ranks, and the first key that was left out
BY_HAND = {
    "error": (SpectralError(), Threshold(), (1, 3), 0.7),
    "energy": (TailError(), Threshold(), (1, 3), 0.355263),  # (.49 + .36 + ... + .09) / 3.8
    "nuclear": (TailError("nuclear"), Threshold(), (1, 3), 0.498039),
    "value": (Magnitude(), Threshold(), (1, 3), 0.7),
    "share": (Magnitude(), Uniform(), (2, 2), -3 / 8),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_two_layers_by_hand(name):
    criterion, allocation, ranks, cut = BY_HAND[name]
    model = pair()
    selection, found = chosen(model, Method(criterion, Ranks(), allocation), 64)
    assert tuple(rank for _, rank in found.values()) == ranks
    assert selection.cost == 64
    assert selection.cut == pytest.approx(cut, abs=1e-6)
    errors = [error_of(model[i].weight, 1, rank, "rss") for i, rank in enumerate(ranks)]
    assert max(errors) == pytest.approx(0.8 if name == "share" else 0.7)


@pytest.mark.parametrize("name", BY_HAND)
def test_relative_errors_do_not_see_the_scale_of_a_layer_and_values_do(name):
    criterion, allocation, ranks, _ = BY_HAND[name]
    _, found = chosen(pair(0.1), Method(criterion, Ranks(), allocation), 64)
    wanted = (3, 1) if name == "value" else ranks
    assert tuple(rank for _, rank in found.values()) == wanted


def test_slices_that_are_worth_it():
    """diag(1, .1, .1, .1) twice: one slice takes 2 ranks, 32, to lose 0.1; two take one, 24."""
    model = nn.Sequential(diagonal(*[1, 0.1, 0.1, 0.1] * 2))
    for bound, budget, slices, rank, error in (
        ("max", 24, 2, 1, 0.1),
        ("max", 32, 2, 1, 0.1),  # of equal errors the cheaper
        ("rss", 24, 2, 1, 0.1 * math.sqrt(2)),
        ("rss", 32, 1, 2, 0.1),
        ("sqrt_k", 31, 2, 1, 0.1 * math.sqrt(2)),
        ("sqrt_k", 16, 1, 1, 1.0),
    ):
        selection, found = chosen(model, alds(bound), budget)
        assert found == {"0": (slices, rank)}
        assert selection.cost == rank * (slices * 8 + 8)
        assert largest_error(model, found, bound) == pytest.approx(error)


def some_layers(draw, count):
    """Small layers of every kind, some with a decay, some with equal values."""
    layers = []
    for _ in range(count):
        filters, channels = draw.choice([3, 4, 6, 8]), draw.choice([1, 3, 4, 6, 8])
        if draw.random() < 0.5:
            layers.append(nn.Linear(channels, filters, bias=False))
        else:
            layers.append(nn.Conv2d(channels, filters, draw.choice([1, 2]), bias=False))
        decay = draw.choice([0, 0, 1, 3]) * torch.arange(channels).float()
        layers[-1].weight.data = torch.randn_like(layers[-1].weight)
        layers[-1].weight.data.transpose(1, -1).mul_((-decay).exp())
        if draw.random() < 0.2:
            layers[-1].weight.data.round_()
    return layers


@BOUNDS
def test_no_combination_of_options_has_a_smaller_largest_error(bound):
    """Of 80 networks of two or three layers, every combination is tried."""
    draw, tried = random.Random(bound), 0
    while tried < 80:
        layers = some_layers(draw, draw.choice([2, 2, 3]))
        model, total = nn.Sequential(*layers), sum(layer.weight.numel() for layer in layers)
        budget = draw.randint(total // 4, total)
        best = best_error(layers, budget, bound)
        if best is None:
            with pytest.raises(ValueError, match="the smallest reachable keep is"):
                chosen(model, alds(bound), budget)
            continue
        tried += 1
        selection, found = chosen(model, alds(bound), budget)
        assert largest_error(model, found, bound) == pytest.approx(best, rel=1e-6, abs=1e-6)
        assert selection.cost <= budget


@BOUNDS
def test_a_larger_budget_never_has_a_larger_error_and_nothing_is_left_that_would_fit(bound):
    draw = random.Random(1)
    for _ in range(3):
        layers = some_layers(draw, 4)
        model = nn.Sequential(*layers)
        tables = [{(k, j): (c, e) for c, e, k, j in options(la.weight, bound)} for la in layers]
        least = sum(min(cost for cost, _ in table.values()) for table in tables)
        total, previous = sum(layer.weight.numel() for layer in layers), math.inf
        with pytest.raises(ValueError, match="out of reach"):
            chosen(model, alds(bound), least - 1)
        for budget in [*range(least, total, max(1, (total - least) // 25)), total]:
            selection, found = chosen(model, alds(bound), budget)
            picked = [(1, None) if found[str(i)][1] is None else found[str(i)] for i in range(4)]
            now = [table[pair] for table, pair in zip(tables, picked, strict=True)]
            assert selection.cost == sum(cost for cost, _ in now) <= budget
            assert max(error for _, error in now) <= previous + 1e-9
            previous = max(error for _, error in now)
            for table, (cost, error) in zip(tables, now, strict=True):
                better = [c for c, e in table.values() if e < error - 1e-6]
                assert not better or min(better) - cost > budget - selection.cost
        assert previous == 0.0


@BOUNDS
def test_two_runs_are_equal_and_the_order_of_layers_does_not_change_the_error(bound):
    layers = some_layers(random.Random(2), 6)
    model, reverse = nn.Sequential(*layers), nn.Sequential(*reversed(layers))
    total = sum(layer.weight.numel() for layer in layers)
    for budget in (total // 2, 2 * total // 3):
        first, again = (chosen(model, alds(bound), budget) for _ in range(2))
        assert first[1] == again[1]
        assert (first[0].cost, first[0].cut) == (again[0].cost, again[0].cut)
        selection, found = chosen(reverse, alds(bound), budget)
        assert selection.cut == first[0].cut
        assert largest_error(reverse, found, bound) == largest_error(model, first[1], bound)


def test_the_smallest_reachable_size_is_named():
    """Two of 8 x 8 and their 16 biases: rank 1 costs 16 each, 48 of 144."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with pytest.raises(ValueError, match=r"16 of 144 params.*smallest reachable keep is 0\.3334"):
        prune(model, alds(), 0.33)
    assert type(model[0]) is nn.Linear, "nothing was changed"
    assert prune(model, alds(), 0.3334).left == 48


def test_floors_are_ranks():
    model = nn.Sequential(diagonal(*[1.0] * 8), diagonal(*[1.0, *[1e-3] * 7]))
    selection, found = chosen(model, alds(slices=1, floor=3), 100)
    assert found == {"0": (1, 3), "1": (1, 3)}
    assert selection.floors == ("1",)
    _, found = chosen(model, alds(slices=1, floor=0.25), 100)
    assert found == {"0": (1, None), "1": (1, 2)}
    _, found = chosen(model, alds(slices=1, floor=0), 64)
    assert found == {"0": (1, None), "1": (1, 0)}


@pytest.mark.parametrize("slices", [1, 2, "divisors"])
def test_layers_whose_factors_are_not_smaller_stay_dense(slices):
    """2 x 2 of rank 1 has 4 parameters as it is; 1 x 6 and 6 x 1 have rank 1 already."""
    model = nn.Sequential(*(linear(torch.randn(s)) for s in ((2, 2), (1, 6), (6, 1), (12, 12))))
    weights = [layer.weight for layer in model]
    report = prune(model, alds(slices=slices), 0.6)
    assert all(model[i].weight is weights[i] for i in range(3))
    assert model[3].weight is not weights[3]
    assert report.left <= 0.6 * 160
    assert sum(p.numel() for p in model.parameters()) == report.left


def test_the_whole_network_stays_as_it_is():
    model = nn.Sequential(nn.Conv2d(6, 8, 3), nn.Linear(12, 12))
    weights = [layer.weight for layer in model]
    assert prune(model, alds(), 1.0).left == sum(p.numel() for p in model.parameters())
    assert all(a is b.weight for a, b in zip(weights, model, strict=True))


def test_layers_of_zeros_cost_least_and_have_no_error():
    model = nn.Sequential(linear(torch.zeros(8, 8)), linear(torch.eye(8)))
    _, found = chosen(model, alds(), 16 + 64)
    assert found == {"0": (1, 1), "1": (1, None)}


def test_weights_that_are_no_numbers_are_refused():
    model = nn.Sequential(linear(torch.eye(8)), linear(torch.full((8, 8), torch.nan)))
    with pytest.raises(ValueError, match="NaN"):
        prune(model, alds(), 0.5)
