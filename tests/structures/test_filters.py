import pytest
import torch
from nets import NETS, perceptron
from thin import check_selection, random_gains, random_state
from torch import nn

from lightning_prune.network.graph import build_graph
from lightning_prune.network.layers import LayerFilter, find_layers
from lightning_prune.structures import Filters

IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def groups_of(model, x, structure=None, layers=None):
    graph = build_graph(model, lambda: model(x), len(x))
    found = graph.traced(find_layers(model, layers))
    return (structure or Filters()).groups(found, lambda: graph)


def residual():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = self.stem(x).relu()
            return self.head(x + self.block(x).flip(1))

    return Residual()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("net", NETS)
def test_cost_zeros_and_outputs_are_those_of_the_thin_network(net, seed):
    check_selection(NETS[net], IMAGES, seed=seed)


@pytest.mark.parametrize("keep", [0.0, 0.9])
def test_neurons_whose_activation_of_zero_is_not_zero(keep):
    x = torch.randn(6, 5, dtype=torch.float64)
    groups = check_selection(perceptron, x, keep)
    assert [(group.name, group.size) for group in groups] == [("0", 12), ("2", 13)]


def test_what_is_left_out_keeps_its_outputs():
    chosen = LayerFilter(exclude=["3", "12"])
    groups = check_selection(NETS["chain"], IMAGES, layers=chosen)
    assert [group.name for group in groups] == ["0", "7"]


def test_frozen_parts_are_untouched():
    model = random_state(NETS["residual"]())
    model.shortcut.weight.requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    gains = random_gains(groups_of(model, IMAGES), 0.5)
    assert [group.name for group in gains] == ["first.0"]
    for group, gain in gains.items():
        Filters().write(group, gain)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"first.0.weight", "first.0.bias", "first.2.weight"}


def test_the_cost_never_falls_when_a_unit_is_added():
    model = random_state(NETS["padded"]())
    groups = groups_of(model, IMAGES)
    gains = {group: torch.zeros(group.size) for group in groups}
    structure, last = Filters(), {"params": 0, "macs": 0}
    for group in groups:
        for unit in torch.randperm(group.size).tolist():
            gains[group][unit] = 1
            for measure in ("params", "macs"):
                cost = structure.cost(gains, measure)
                assert cost >= last[measure]
                last[measure] = cost


def test_units_are_rows_along_the_outputs():
    conv, transposed = nn.Conv2d(3, 5, 2), nn.ConvTranspose2d(3, 5, 2)
    rows, columns = find_layers(nn.ModuleList([conv, transposed]))
    assert torch.equal(Filters().units(rows, conv.weight), conv.weight.reshape(5, 12))
    made = Filters().units(columns, transposed.weight)
    assert torch.equal(made, transposed.weight.transpose(0, 1).reshape(5, 12))


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("rss", [5.0, 2.0, 2.0, 5.0]), ("sum", [7.0, 2.0, 2.0, 7.0]), ("max", [4.0, 2.0, 2.0, 4.0])],
)
def test_a_units_score_joins_those_of_its_filters(reduction, expected):
    structure = Filters(reduction)
    (group,) = groups_of(residual(), torch.randn(2, 3), structure)
    # the block's outputs are flipped: unit 0 is filter 0 of the stem and filter 3 of the block
    scores = {"stem": torch.tensor([3.0, 2, 0, 4]), "block": torch.tensor([3.0, 2, 0, 4])}
    assert structure.combine(group, scores).tolist() == expected


def test_a_rescaled_unit_is_rescaled_once():
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(),
            nn.Conv2d(6, 2, 1),
        )  # fmt: skip

    model, scaled = random_state(make()), random_state(make())
    (group,) = groups_of(scaled, IMAGES)
    gain = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 0.0])
    with torch.no_grad():
        inner = model[:4](IMAGES)
        Filters().write(group, gain)
        Filters().hold(group, gain)
        expected = inner * gain[:, None, None]
        assert torch.allclose(scaled[:4](IMAGES), expected)
        kept = (gain != 0)[None, :, None, None]
        assert torch.equal(scaled[4].weight, model[4].weight * kept)


def test_units_after_a_write_are_the_gains_times_the_units_before():
    model = random_state(perceptron())
    structure = Filters()
    group = groups_of(model, torch.randn(2, 5, dtype=torch.float64), structure)[0]
    (layer,) = group.layers
    before = structure.units(layer, layer.weight).clone()
    gain = torch.linspace(0, 2, 12)
    structure.write(group, gain)
    assert torch.allclose(structure.units(layer, layer.weight), before * gain[:, None].double())


def test_nothing_to_remove_is_said_with_reasons():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    why = r"\(0: layer_norm runs over them; 2: they are the network's outputs\)"
    with pytest.raises(ValueError, match=why):
        groups_of(model, torch.randn(2, 3))
    with pytest.raises(ValueError, match="'rss', 'sum' or 'max'"):
        Filters("mean")
