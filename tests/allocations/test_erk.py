"""ERK: the counts of the papers' rule, by hand and against its iterative definition."""

import pytest
import torch
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import ERK, Candidate, allocate
from lightning_prune.criteria import Magnitude
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Blocks, Filters, Weights


def counts(shapes, budget, scores=None):
    """How many weights each layer keeps."""
    layers = find_layers(nn.ModuleList(_module(shape) for shape in shapes))
    groups = Weights().groups(layers, None)
    values = scores or [torch.rand(group.size) for group in groups]
    candidates = [Candidate(g, Weights(), v) for g, v in zip(groups, values, strict=True)]
    gains = allocate(ERK(), candidates, budget, "params").gains
    return [int(gains[group][1].sum()) for group in groups]


def _module(shape):
    if len(shape) == 2:
        return nn.Linear(shape[1], shape[0], bias=False)
    return nn.Conv2d(shape[1], shape[0], shape[2:], bias=False)


def paper(shapes, budget):
    """Layers whose share exceeds 1 are made dense one after the other, the rest share."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    dense = set()
    while True:
        rest = [i for i in range(len(shapes)) if i not in dense]
        left = budget - sum(sizes[i] for i in dense)
        scale = left / sum(sum(shapes[i]) for i in rest)
        over = [i for i in rest if scale * sum(shapes[i]) > sizes[i]]
        if not over:
            break
        dense |= set(over)
    return [sizes[i] if i in dense else scale * sum(shapes[i]) for i in range(len(shapes))]


def test_by_hand():
    # factors (4 + 4) / 16 and (16 + 8) / 128: 8 c + 24 c = 40 at c = 1.25
    assert counts([(4, 4), (16, 8)], 40) == [10, 30]
    # at 80 the first layer is whole and the second has the rest
    assert counts([(4, 4), (16, 8)], 80) == [16, 64]


def test_a_whole_layer_leaves_the_rest_to_the_others():
    # 100, 400 and 900 weights with sums of 52, 40 and 60: 52 c > 100, and 600 = 100 c at c = 6
    assert counts([(50, 2), (20, 20), (30, 30)], 700) == [100, 240, 360]


RESNET = [(16, 3, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 16, 1, 1), (64, 32, 3, 3), (10, 64)]


@pytest.mark.parametrize("keep", [0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_counts_are_those_of_the_iterative_definition(keep):
    budget = int(keep * sum(torch.Size(shape).numel() for shape in RESNET))
    found = counts(RESNET, budget)
    assert sum(found) == budget
    for mine, wanted in zip(found, paper(RESNET, budget), strict=True):
        assert abs(mine - wanted) <= 2, "rounded so that the sum is exact"


def test_counts_depend_on_shapes_only_and_the_best_units_stay():
    torch.manual_seed(1)
    shapes = [(6, 5), (9, 8)]
    scores = [torch.rand(30) * 1e-3, torch.rand(72)]
    assert counts(shapes, 50) == counts(shapes, 50, scores)
    model = nn.Sequential(nn.Linear(5, 6, bias=False), nn.Linear(6, 9, bias=False))
    before = model[1].weight.detach().abs()
    prune(model, Method(Magnitude(), Weights(), ERK()), 0.5)
    gone = model[1].weight == 0
    assert before[gone].max() < before[~gone].min()


@pytest.mark.parametrize("structure", [Filters(), Blocks(2, 2)], ids=repr)
def test_other_units_take_that_share_of_them(structure):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 2))
    report = prune(model, Method(Magnitude(), structure, ERK()), 0.6, example=torch.zeros(1, 4))
    small, large = (layer.kept / layer.units for layer in report.layers[:2])
    assert report.keep <= 0.6
    assert small > large
