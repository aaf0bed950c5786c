"""Channels: the units of filters, scored by those who read them."""

import copy

import pytest
import torch
from nets import NETS
from thin import macs, nonzero, params, random_gains, random_state, thin
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import Magnitude
from lightning_prune.network.graph import build_graph
from lightning_prune.network.layers import LayerFilter, find_layers
from lightning_prune.structures import Channels, Filters

IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def groups_of(model, x, structure=None, layers=None):
    graph = build_graph(model, lambda: model(x), len(x))
    found = graph.traced(find_layers(model, layers))
    return (structure or Channels()).groups(found, lambda: graph)


def readers(group):
    return [layer.name for layer in group.layers]


@pytest.mark.parametrize("net", NETS)
def test_units_zeros_and_outputs_are_those_of_filters(net):
    """Masked and really thinned networks are one, and both are those that filters leave."""
    model = random_state(NETS[net]())
    graph = build_graph(model, lambda: model(IMAGES), len(IMAGES))
    layers = graph.traced(find_layers(model))
    channels = Channels().groups(layers, lambda: graph)
    filters = Filters().groups(layers, lambda: graph)
    assert [(g.name, g.size) for g in channels] == [(g.name, g.size) for g in filters]
    twin = copy.deepcopy(model)
    gains = random_gains(channels, 0.5)
    for measure in ("params", "macs"):
        rows = dict(zip(filters, gains.values(), strict=True))
        assert Channels().cost(gains, measure) == Filters().cost(rows, measure)
    full = {group: torch.ones(group.size) for group in channels}
    dense = params(model)
    for group, gain in gains.items():
        Channels().write(group, gain)
    thin(twin, gains)
    if hasattr(twin, "repair"):
        twin.repair(gains)
    left = dense - Channels().cost(full, "params") + Channels().cost(gains, "params")
    assert nonzero(model) == params(twin) == left
    with torch.no_grad():
        assert torch.allclose(model(IMAGES), twin(IMAGES), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        ("chain", {"0": ["3"], "3": ["7"], "7": ["12"], "12": ["14"]}),
        ("concat", {"first": ["second", "third"], "second": ["third"]}),
        # depthwise layers hand on what the next full one reads
        ("depthwise", {"0+2": ["5"], "5+7": ["9"]}),
        ("decoder", {"0": ["2"], "2": ["8"], "8": ["10"]}),
        ("cells", {"read+keep": ["keep", "head"]}),
    ],
)
def test_the_layers_of_a_group_are_its_readers(net, expected):
    groups = groups_of(random_state(NETS[net]()), IMAGES)
    found = {group.name: readers(group) for group in groups}
    for name, layers in expected.items():
        assert found[name] == layers, found


def test_units_are_columns_along_the_inputs():
    conv, transposed = nn.Conv2d(3, 5, 2), nn.ConvTranspose2d(3, 5, 2)
    layers = find_layers(nn.ModuleList([conv, transposed, nn.Conv1d(4, 6, 3), nn.Linear(3, 2)]))
    for layer in layers:
        weight = layer.weight
        units = Channels().units(layer, weight)
        for channel, unit in enumerate(units):
            assert torch.equal(unit, weight.select(layer.in_dim, channel).flatten())


def test_units_of_grouped_convolutions_are_input_channels():
    conv, transposed = nn.Conv2d(6, 4, 3, groups=2), nn.ConvTranspose2d(6, 4, 3, groups=2)
    (layer, back) = find_layers(nn.ModuleList([conv, transposed]))
    units = Channels().units(layer, conv.weight)
    assert units.shape == (6, 2 * 9)
    # channel 4 is the second of the second group, which makes outputs 2 and 3
    assert torch.equal(units[4], conv.weight[2:, 1].flatten())
    assert torch.equal(Channels().units(back, transposed.weight)[4], transposed.weight[4].flatten())
    # what a unit's slice reads is what its output changes with
    x = torch.randn(1, 6, 5, 5)
    x[:, 4] = 0
    before = conv(x)
    conv.weight.data[2:, 1] += 1
    assert torch.equal(conv(x), before)


def test_magnitude_is_the_norm_of_the_outgoing_weights():
    """By hand: a convolution's channel is four columns of the linear layer behind a flatten."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))
    model[0].weight.data.copy_(torch.tensor([100.0, 0.001]).view(2, 1, 1, 1))
    model[3].weight.data.copy_(torch.tensor([[1.0, 1, 1, 1, 3, 3, 3, 3]]))
    x = torch.randn(2, 1, 2, 2)
    (group,) = groups_of(model, x)
    scores = {"3": Magnitude().score(group.layers[0], Channels())}
    assert scores["3"].tolist() == [1, 1, 1, 1, 3, 3, 3, 3]
    assert Channels().combine(group, scores).tolist() == [2, 6]
    assert Channels("sum").combine(group, scores).tolist() == [4, 12]
    assert Channels("max").combine(group, scores).tolist() == [1, 3]
    report = prune(model, Method(Magnitude(), Channels(), Threshold()), 0.6, example=x)
    # of 2 + 2 + 8 + 1 parameters the first channel's 1 + 1 + 4 leave, large as its filter is
    assert (report.left, report.dense) == (7, 13)
    assert model[0].weight.flatten().tolist() == pytest.approx([0, 0.001])
    rows = {row.name: (row.units, row.kept) for row in report.layers}
    assert rows == {"0": (1, 1), "3": (8, 4)}
    assert report.notes == (
        "0 keeps its units: 1 of 1 are inputs of the network or are made by layers that keep "
        "their outputs",
    )


def test_scores_of_two_readers_join_through_offsets():
    """In `third`, channels of `first` come first and those of `second` after them."""
    model = random_state(NETS["concat"]())
    structure = Channels()
    groups = groups_of(model, IMAGES, structure)
    first, second = groups[0], groups[1]
    score = {layer.name: Magnitude().score(layer, structure) for layer in first.layers}
    columns = model.third.weight.square().sum((0, 2, 3))
    read = model.second.weight.square().sum((0, 2, 3))[3:]  # behind the three of the image
    assert torch.allclose(structure.combine(first, score), (columns[:10] + read).sqrt())
    assert torch.allclose(structure.combine(second, score), columns[10:].sqrt())


def test_a_rescaled_unit_scales_its_readers_once():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Sigmoid(), nn.Conv2d(6, 6, 3, groups=6),
        nn.Sigmoid(), nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    scaled = random_state(copy.deepcopy(model))
    random_state(model)
    (group,) = groups_of(scaled, IMAGES)
    gain = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 0.0])
    with torch.no_grad():
        inner = model[:5](IMAGES)
        Channels().write(group, gain)
        Channels().hold(group, gain)
        expected = model[5](inner * gain[:, None, None])
        assert torch.allclose(scaled(IMAGES), expected)
        kept = (gain != 0)[:, None, None, None]
        assert torch.equal(scaled[3].weight, model[3].weight * kept)


def test_a_reader_that_is_left_out_does_not_score():
    model = random_state(NETS["concat"]())
    groups = groups_of(model, IMAGES, layers=LayerFilter(exclude="third"))
    assert {group.name: readers(group) for group in groups} == {"first": ["second"]}


def test_channels_of_grouped_convolutions_leave_by_whole_groups():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(),
        nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    report = prune(model, "channel_norm", 0.97, example=IMAGES.float())
    kept = {row.name: (row.units, row.kept) for row in report.layers}
    assert kept == {"0": (3, 3), "2": (8, 8), "4": (8, 4), "6": (6, 5)}
    assert [note.split()[0] for note in report.notes] == ["0"]
    kept = model[4].weight.flatten(1).any(0).tolist()
    assert sorted([kept[:4], kept[4:]]) == [[False] * 4, [True] * 4]
    assert model[0].weight.flatten(1).any(1).tolist() == kept
    assert model[2].weight.flatten(1).any(1).tolist() == kept


def test_nothing_to_remove_is_said_with_reasons():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"No input channel .*0: layer_norm runs over them"):
        groups_of(model, torch.randn(2, 3))
    alone = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="no prunable layer reads them"):
        groups_of(alone, torch.randn(2, 3), layers=LayerFilter(include="0"))
    with pytest.raises(ValueError, match="Channels reduces scores by 'rss', 'sum' or 'max'"):
        Channels("mean")


def resnet():
    from lightning_prune.models import ResNet

    return ResNet(8, widths=(8, 12, 16), shortcut="B")


NETWORKS = {"resnet": resnet, "depthwise": NETS["depthwise"], "chain": NETS["chain"]}
ROWS = {
    "filter_norm": Filters, "filter_norm_global": Filters,
    "channel_norm": Channels, "channel_norm_global": Channels,
}  # fmt: skip


@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.parametrize("row", ROWS)
def test_multiply_adds_of_a_thinned_network_are_the_reports(row, net):
    """They are below the budget by less than what the next unit would cost."""
    model = random_state(NETWORKS[net]())
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64) if net == "resnet" else IMAGES
    twin, structure = copy.deepcopy(model), ROWS[row]()
    dense = macs(model, images)
    groups = groups_of(model, images, structure)
    report = prune(model, row, 0.5, measure="macs", example=images)
    gains = {group: _alive(model, group) for group in groups}
    thin(twin, gains)
    assert report.dense == dense
    assert report.left == report.macs_effective == macs(twin, images) <= report.budget
    # what the cheapest and the dearest unit that left would add
    more = []
    for group, gain in gains.items():
        for unit in (gain == 0).nonzero()[:1, 0]:
            wider = {**gains, group: gain.index_fill(0, unit, 1)}
            more.append(structure.cost(wider, "macs") - structure.cost(gains, "macs"))
    assert report.budget - report.left < max(more)
    assert params(twin) == nonzero(model)


def _alive(model, group):
    """(n_units,) 1 where some entry of the unit is not zero."""
    alive = torch.zeros(group.size)
    for part in group.slices:
        if isinstance(part.parameter, nn.Parameter):
            used = part.parameter.detach().movedim(part.dim, 0)
            used = used.reshape(len(used), -1).any(1)
            owned = part.units >= 0
            alive[part.units[owned & used]] = 1
    return alive
