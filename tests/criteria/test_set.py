"""SET: the smallest drop, random ones grow; the same ones for a seed, a layer and a progress."""

import math

import pytest
import torch
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import ERK, Uniform
from lightning_prune.criteria import SET
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Filters, Weights

WEIGHTS = Weights()


def layer_of(values):
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values])
    return find_layers(nn.Sequential(layer))[0]


def begun(active, progress=0.0, **options):
    criterion = SET(**options)
    criterion.begin(progress, {"0": torch.tensor(active)})
    return criterion


def test_the_share_of_smallest_active_weights_drops():
    layer = layer_of([3.0, -0.5, 9.0, -2.0, 1.0, 0.0])
    criterion = begun([1.0, 1.0, 0.0, 1.0, 1.0, 0.0], drop=0.5)
    assert criterion.survivors(layer, WEIGHTS).tolist() == [1, 0, 0, 1, 0, 0]
    score = criterion.score(layer, WEIGHTS)
    assert score[[0, 3]].tolist() == [3, 2], "survivors score their magnitudes"
    assert bool((score[[1, 2, 4, 5]] < 0).all())


def test_an_active_weight_that_is_zero_survives_before_one_that_is_not_active():
    layer = layer_of([0.0, 0.0, 0.0])
    criterion = begun([0.0, 1.0, 0.0], drop=0.0)
    assert criterion.score(layer, WEIGHTS).argmax() == 1


@pytest.mark.parametrize(("progress", "dropped"), [(0.0, 40), (1 / 3, 30), (0.5, 20), (2 / 3, 10)])
def test_the_share_falls_by_a_cosine(progress, dropped):
    layer = layer_of(torch.rand(200).tolist())
    criterion = begun([1.0] * 100 + [0.0] * 100, progress, drop=0.4)
    assert math.isclose(0.2 * (1 + math.cos(math.pi * progress)) * 100, dropped, abs_tol=1e-9)
    assert criterion.survivors(layer, WEIGHTS).sum() == 100 - dropped


def test_a_layer_without_a_free_place_is_left_alone():
    assert begun([1.0] * 4).survivors(layer_of([1.0, 2.0, 3.0, 4.0]), WEIGHTS).all()


def test_growth_is_uniform_and_a_function_of_seed_layer_and_progress():
    one, other = find_layers(nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100)))
    drawn = []
    for seed, progress, layer in [(0, 0.0, one), (1, 0.0, one), (0, 0.2, one), (0, 0.0, other)]:
        criterion = SET(seed=seed)
        criterion.begin(progress, {})
        state = torch.get_rng_state()
        growth = criterion.growth(layer, WEIGHTS)
        torch.rand(1)
        assert torch.equal(growth, criterion.growth(layer, WEIGHTS)), "reproducible"
        torch.set_rng_state(state)
        assert abs(growth.mean() - 0.5) < 0.012  # of 10,000; standard deviation 0.003
        drawn.append(growth)
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(4)
    assert correlation.abs().max() < 0.05  # standard deviation 0.01


def test_the_random_state_of_the_run_is_untouched():
    layer, state = layer_of([1.0, 0.0]), torch.get_rng_state()
    begun([1.0, 0.0]).score(layer, WEIGHTS)
    assert torch.equal(state, torch.get_rng_state())


def test_prune_exchanges_within_the_count_and_what_grows_is_zero():
    model = nn.Sequential(nn.Linear(20, 10, bias=False))
    before = model[0].weight.detach().clone()
    report = prune(model, Method(SET(drop=0.2), Weights(), Uniform()), 0.5)
    assert report.left == 100
    assert report.layers[0].kept == 100
    after = model[0].weight.detach()
    survivors = before.abs() >= before.abs().flatten().sort().values[-80]  # 100 less a fifth
    assert torch.equal(after, before * survivors)


def test_a_pruned_model_exchanges_what_it_has():
    model = nn.Sequential(nn.Linear(20, 10, bias=False))
    prune(model, Method(SET(drop=0.0), Weights(), ERK()), 0.25)
    before = model[0].weight.detach().clone()
    assert before.count_nonzero() == 50
    report = prune(model, Method(SET(drop=0.5), Weights(), ERK()), 0.3)
    after = model[0].weight.detach()
    assert after.count_nonzero() == 25, "half of the 50 there were"
    assert report.left == 60
    assert torch.equal(after[after != 0], before[after != 0])


@pytest.mark.parametrize("drop", [-0.1, 1.5, "0.3"])
def test_a_share_out_of_range_is_refused(drop):
    with pytest.raises(ValueError, match=r"drop is a share of the active weights in \[0, 1\]"):
        SET(drop=drop)


def test_other_structures_are_refused():
    with pytest.raises(ValueError, match="SET is defined for Weights structures, not for Filters"):
        Method(SET(), Filters(), Uniform())
