"""Blocks: tiles of a weight as a matrix, and what is left of them at the edges."""

import math

import pytest
import torch
from nets import NETS
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold, Uniform
from lightning_prune.criteria import Magnitude
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Blocks

KINDS = {
    "linear": lambda: nn.Linear(10, 7),
    "conv1d": lambda: nn.Conv1d(3, 6, 3),
    "conv2d": lambda: nn.Conv2d(3, 5, (2, 3)),
    "grouped": lambda: nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, groups=6),
    "transposed": lambda: nn.ConvTranspose2d(6, 5, 2),
}


def group_of(module, structure):
    layers = find_layers(nn.Sequential(module))
    (group,) = structure.groups(layers, None)
    return layers[0], group


def tiles_of(matrix, rows, columns):
    """Tiles by plain loops."""
    for top in range(0, matrix.shape[0], rows):
        for left in range(0, matrix.shape[1], columns):
            yield matrix[top : top + rows, left : left + columns]


@pytest.mark.parametrize("size", [(4, 4), (2, 5), (1, 1), (3, 100), (100, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_units_cost_and_factors_are_those_of_plain_loops(kind, size):
    structure, module = Blocks(*size), KINDS[kind]()
    layer, group = group_of(module, structure)
    matrix = module.weight.detach().movedim(layer.out_dim, 0).flatten(1)
    tiles = [tile.clone() for tile in tiles_of(matrix, *size)]
    units = structure.units(layer, module.weight.detach())
    assert len(units) == len(tiles) == group.size
    means = torch.stack([tile.square().mean() for tile in tiles])
    assert torch.allclose(units.square().mean(1), means)
    gain = (torch.arange(group.size) % 3).float()
    cost = sum(tile.numel() for tile, g in zip(tiles, gain, strict=True) if g)
    assert structure.cost({group: gain}, "params") == cost
    structure.write(group, gain)
    assert int(module.weight.count_nonzero()) == cost
    written = module.weight.detach().movedim(layer.out_dim, 0).flatten(1)
    for tile, old, g in zip(tiles_of(written, *size), tiles, gain, strict=True):
        assert torch.equal(tile, g * old)


def test_a_small_tile_has_the_mean_of_its_entries():
    """A weight of ones: all tiles matter alike, the single entry in the corner too."""
    layer, _ = group_of(nn.Linear(5, 5), Blocks(4, 4))
    layer.parameter.data.fill_(1.0)
    assert torch.allclose(Magnitude().score(layer, Blocks(4, 4)), torch.full((4,), 4.0))


def test_a_small_matrix_by_hand():
    """Of 3 x 3 ones the tiles cost 4, 2, 2 and 1; the middle values lie in the corner."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 1, 3], [1, 1, 3], [4, 4, 2]])
    report = prune(model, Method(Magnitude(), Blocks(2, 2), Threshold(floor=0)), 5 / 9)
    assert report.left == 5
    assert model[0].weight.tolist() == [[0, 0, 3], [0, 0, 3], [4, 4, 2]]
    assert [(row.units, row.kept) for row in report.layers] == [(4, 3)]


@pytest.mark.parametrize("allocation", [Threshold(), Uniform()], ids=["threshold", "uniform"])
@pytest.mark.parametrize("measure", ["params", "macs"])
@pytest.mark.parametrize("net", ["chain", "depthwise", "decoder"])
def test_a_budget_is_met_to_one_tile(net, measure, allocation):
    model = NETS[net]()
    with torch.no_grad():
        for p in model.parameters():
            p.uniform_(0.5, 1.0)
    x = torch.randn(2, 3, 9, 9)
    report = prune(
        model, Method(Magnitude(), Blocks(), allocation), 0.5, measure=measure, example=x
    )
    left = report.nonzero if measure == "params" else report.macs_effective
    assert left == report.left <= report.budget
    largest = max(layer.macs // layer.params if measure == "macs" else 1 for layer in report.layers)
    assert report.budget - report.left < 16 * largest


def test_every_tile_is_whole_or_gone():
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8))
    prune(model, "block_magnitude", 0.5)
    for layer in find_layers(model):
        counts = {int(tile.count_nonzero()) for tile in tiles_of(layer.weight, 4, 4)}
        assert counts == {0, 16}


def test_equal_tiles_of_a_whole_are_single_filters_and_single_weights():
    model = nn.Conv2d(3, 5, 2)
    layer, group = group_of(model, Blocks(1, 12))
    assert group.size == 5
    assert torch.equal(Blocks(1, 12).units(layer, layer.weight), layer.weight.flatten(1))
    assert torch.equal(Blocks(1, 1).units(layer, layer.weight), layer.weight.reshape(-1, 1))


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (4, -1), (1.5, 2), (2, math.inf)])
def test_sizes_that_are_none(rows, columns):
    with pytest.raises(ValueError, match="positive whole numbers"):
        Blocks(rows, columns)
