import pytest
import torch
from nets import NETS
from thin import nonzero, random_state
from torch import nn

from lightning_prune.network.graph import build_graph
from lightning_prune.network.layers import LayerFilter, find_layers
from lightning_prune.structures import Weights

IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CLEAN = Weights(clean=True)


def groups_of(model, x, layers=None):
    graph = build_graph(model, lambda: model(x), len(x))
    return CLEAN.groups(find_layers(model, layers), lambda: graph)


def ones(groups):
    return {group: torch.ones(group.size) for group in groups}


def drawn(groups, keep, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {g: (torch.rand(g.size, generator=generator) < keep).float() for g in groups}


def write(gains):
    for group, gain in CLEAN.settle(gains).items():
        CLEAN.write(group, gain)


def perceptron():
    return nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)
    )


def test_only_the_cleaning_structure_asks_for_a_trace_and_gives_up_prices():
    layers = find_layers(perceptron())

    def graph():
        raise AssertionError

    plain = Weights()
    assert plain.additive
    assert not CLEAN.additive
    groups = plain.groups(layers, graph)
    assert [group.follows for group in groups] == [()] * 3
    assert plain.settle(ones(groups)).keys() == set(groups)
    assert plain.cost(ones(groups), "params") == 24 + 30 + 15


def test_a_neuron_without_input_goes_with_its_bias_norm_and_columns():
    model = random_state(perceptron())
    groups = groups_of(model, torch.randn(2, 4, dtype=torch.float64))
    gains = ones(groups)
    gains[groups[1]].view(5, 6)[2] = 0  # every weight into neuron 2
    full = CLEAN.cost(ones(groups), "params")
    assert CLEAN.cost(gains, "params") == full - 6 - 1 - 2 - 3  # weights, bias, norm, columns
    write(gains)
    touched = (model[2].weight[2], model[2].bias[2], model[3].weight[2], model[3].bias[2])
    assert not any(bool(part.any()) for part in (*touched, model[5].weight[:, 2]))
    assert nonzero(model) == sum(p.numel() for p in model.parameters()) - 12


def test_a_neuron_without_readers_goes_and_nothing_changes():
    model = random_state(perceptron())
    x = torch.randn(7, 4, dtype=torch.float64)
    groups = groups_of(model, x)
    gains = ones(groups)
    gains[groups[2]].view(3, 5)[:, 2] = 0
    for group, gain in gains.items():
        CLEAN.write(group, gain)
    before = model(x)
    write(gains)
    assert torch.equal(model(x), before)
    assert not bool(model[2].weight[2].any())
    assert CLEAN.cost(gains, "params") == CLEAN.cost(ones(groups), "params") - 3 - 6 - 1 - 2


def test_death_spreads_until_nothing_dies():
    model = random_state(perceptron())
    groups = groups_of(model, torch.randn(2, 4, dtype=torch.float64))
    gains = ones(groups)
    gains[groups[0]].view(6, 4)[1:] = 0  # neuron 0 alone has input,
    gains[groups[1]].view(5, 6)[1:, 0] = 0  # and only neuron 0 of the next layer reads it
    settled = CLEAN.settle(gains)
    kept = [int(settled[group].sum()) for group in groups]
    assert kept == [4, 1, 3]
    assert CLEAN.cost(gains, "params") == 4 + 1 + 3 + 2 * 1 + 2  # two biases, one norm
    again = CLEAN.settle(settled)
    assert all(torch.equal(again[group], gain) for group, gain in settled.items())


@pytest.mark.parametrize("keep", [0.5, 0.1, 0.03])
@pytest.mark.parametrize("net", NETS)
def test_cost_is_what_is_left_after_the_write(net, keep):
    model = random_state(NETS[net]())
    groups = groups_of(model, IMAGES)
    gains = drawn(groups, keep)
    dense = sum(p.numel() for p in model.parameters())
    expected = dense - CLEAN.cost(ones(groups), "params") + CLEAN.cost(gains, "params")
    write(gains)
    assert nonzero(model) == expected
    left = sum(g.layers[0].positions * int(g.layers[0].weight.count_nonzero()) for g in groups)
    assert CLEAN.cost(gains, "macs") == left


@pytest.mark.parametrize("net", ["residual", "concat", "depthwise"])
def test_no_unit_is_left_without_input_or_output(net):
    model = random_state(NETS[net]())
    groups = groups_of(model, IMAGES)
    settled = CLEAN.settle(drawn(groups, 0.05))
    for follower in (group for group in settled if not group.layers):
        made, read = (torch.zeros(follower.size, dtype=torch.bool) for _ in range(2))
        for part in follower.slices:
            own = [g for g in groups if g.layers[0].module is part.module]
            if not own or part.tensor != "weight" or getattr(part.module, "groups", 1) > 1:
                continue
            gain = settled[own[0]].view(own[0].layers[0].weight.shape)
            connected = gain.movedim(part.dim, 0).flatten(1).any(1)
            flags = made if part.dim == own[0].layers[0].out_dim else read
            flags[part.units[(part.units >= 0) & connected]] = True
        lives = settled[follower] != 0
        assert torch.equal(made & lives, lives)
        assert torch.equal(read & lives, lives)
        assert not bool(((made | read) & ~lives).any())


def test_the_cost_never_falls_when_a_weight_is_added():
    model = random_state(NETS["depthwise"]())
    groups = groups_of(model, IMAGES)
    order = torch.randperm(sum(g.size for g in groups), generator=torch.Generator().manual_seed(0))
    costs = []
    for kept in range(0, len(order), 40):
        flags = (order < kept).float().split([group.size for group in groups])
        costs.append(CLEAN.cost(dict(zip(groups, flags, strict=True)), "params"))
    assert costs == sorted(costs)


def test_a_stream_lives_while_one_of_its_makers_does():
    model = random_state(NETS["residual"]())
    groups = {group.name: group for group in groups_of(model, IMAGES)}
    gains = ones(groups.values())
    gains[groups["stem"]].view(10, -1)[4] = 0
    settled = CLEAN.settle(gains)
    assert all(bool(gain.all()) for group, gain in settled.items() if group.name != "stem")
    gains[groups["first.2"]].view(10, -1)[4] = 0
    settled = CLEAN.settle(gains)
    dead = {group.name: int((gain == 0).sum()) for group, gain in settled.items()}
    assert dead["stem+first.2/units"] == 1
    assert dead["second"] == 12 * 9
    assert dead["shortcut"] == 12


def test_layers_left_out_are_read_and_written_as_ever():
    model = random_state(perceptron())
    x = torch.randn(2, 4, dtype=torch.float64)
    groups = groups_of(model, x, LayerFilter(exclude="5"))
    gains = ones(groups)
    gains[groups[1]].view(5, 6)[2] = 0
    before = model[5].weight.clone()
    write(gains)
    assert torch.equal(model[5].weight, before)
    assert not bool(model[3].bias[2].any())
    gains[groups[1]].view(5, 6)[:, 3] = 0
    settled = CLEAN.settle(gains)
    assert int(settled[groups[0]].count_nonzero()) == 20


def test_biases_no_longer_bound_what_can_be_kept():
    model = nn.Sequential(
        nn.Linear(2, 64), nn.Sigmoid(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 2)
    )
    groups = groups_of(model, torch.randn(2, 2))
    gains = {group: torch.zeros(group.size) for group in groups}
    for group in groups:
        gains[group][0] = 1  # one path
    fixed = 2  # the bias of the outputs
    assert CLEAN.cost(gains, "params") + fixed == 3 + 2 + 2
    assert Weights().cost(gains, "params") == 3
