"""Floors: no layer collapses, and it is said where that was what kept it."""

import pytest
import torch
from reference import OneByOne, select
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import OverBudgetError, Threshold, Uniform
from lightning_prune.criteria import Magnitude
from lightning_prune.structures import Weights

LARGE, SMALL = torch.tensor([5.0, 6.0, 7.0, 8.0]), torch.tensor([0.1, 0.3, 0.2])
BOTH = pytest.mark.parametrize("structure", [Weights(), OneByOne()], ids=lambda s: type(s).__name__)


@BOTH
@pytest.mark.parametrize(
    ("floor", "budget", "kept", "bound"),
    [
        (0, 4, [[1, 1, 1, 1], [0, 0, 0]], ()),
        (1, 4, [[0, 1, 1, 1], [0, 1, 0]], ("layer1",)),
        (2, 4, [[0, 0, 1, 1], [0, 1, 1]], ("layer1",)),
        (0.5, 4, [[0, 0, 1, 1], [0, 1, 1]], ("layer1",)),  # a share below 1, rounded up
        (1, 2, [[0, 0, 0, 1], [0, 1, 0]], ("layer1",)),
        (1, 5, [[1, 1, 1, 1], [0, 1, 0]], ()),
    ],
)
def test_the_best_units_of_every_layer_stay(structure, floor, budget, kept, bound):
    selection, gains = select(Threshold(floor=floor), [LARGE, SMALL], budget, structure=structure)
    assert [gain.tolist() for gain in gains] == kept
    assert selection.floors == bound
    assert selection.cost == budget


@BOTH
def test_a_floor_larger_than_a_layer_is_the_whole_layer(structure):
    _, gains = select(Threshold(floor=3), [LARGE, torch.tensor([0.1])], 4, structure=structure)
    assert [gain.tolist() for gain in gains] == [[0, 1, 1, 1], [1]]


@BOTH
def test_what_is_gone_is_no_part_of_a_floor(structure):
    gone = [torch.ones(4), torch.tensor([0.0, 0.0, 1.0])]
    allocation = Threshold(floor=2)
    _, gains = select(allocation, [LARGE, SMALL], 3, structure=structure, gone=gone)
    assert [gain.tolist() for gain in gains] == [[0, 0, 1, 1], [0, 0, 1]]


@BOTH
@pytest.mark.parametrize("allocation", [Threshold(floor=2), Uniform(floor=2)], ids=repr)
def test_floors_above_the_budget_are_refused_with_what_they_cost(structure, allocation):
    with pytest.raises(OverBudgetError) as caught:
        select(allocation, [LARGE, SMALL], 15, prices=[7, 1], structure=structure)
    assert caught.value.least == 16
    selection, _ = select(allocation, [LARGE, SMALL], 16, prices=[7, 1], structure=structure)
    assert selection.cost == 16


@BOTH
def test_infinite_scores_do_not_push_a_floor_out(structure):
    endless = torch.full((4,), torch.inf)
    _, gains = select(Threshold(), [endless, SMALL], 3, structure=structure)
    assert [gain.tolist() for gain in gains] == [[1, 1, 0, 0], [0, 1, 0]]


def test_a_floor_that_binds_is_a_note_in_the_report():
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with torch.no_grad():
        net[1].weight.mul_(1e-3)
    weak = Method(Magnitude(), Weights(), Threshold(floor=3))
    report = prune(net, weak, 0.5)
    assert report.left == 0.5 * (128 + 16)
    assert int(net[1].weight.count_nonzero()) == 3
    assert [note for note in report.notes if "layer collapse" in note and note.endswith(" 1")]
    assert not any("layer collapse" in note for note in prune(net, "magnitude", 0.5).notes)


@pytest.mark.parametrize("floor", [-1, 1.5, "layer_max"])
def test_a_floor_that_is_no_number_of_units_is_refused(floor):
    with pytest.raises(ValueError, match="share of units below 1 or a whole number"):
        Threshold(floor=floor)


def test_the_first_argument_of_threshold_is_its_scale():
    assert Threshold("layer_max", floor=0.1) == Threshold(scale="layer_max", floor=0.1)
