"""One threshold for all layers: by hand, and against torch's own global magnitude pruning."""

import copy

import pytest
import torch
import torch.nn.utils.prune as torch_prune
from reference import select
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Fixed, OverBudgetError, Threshold
from lightning_prune.criteria import Magnitude
from lightning_prune.structures import Weights

ONE, TWO = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.5, 4.0])


@pytest.mark.parametrize(
    ("budget", "kept", "cut"),
    [
        (2, [[1, 0, 0], [0, 1]], 2.0),
        (3, [[1, 0, 1], [0, 1]], 1.0),
        (4, [[1, 1, 1], [0, 1]], 0.5),
    ],
)
def test_the_largest_scores_of_all_layers_stay(budget, kept, cut):
    selection, gains = select(Threshold(), [ONE, TWO], budget)
    assert [gain.tolist() for gain in gains] == kept
    assert (selection.cost, selection.cut, selection.floors) == (budget, cut, ())


def test_signs_do_not_count_where_scores_are_absolute_values():
    signs = [ONE * torch.tensor([-1, 1, -1]), -TWO]
    _, gains = select(Threshold(), signs, 3, signed=True)
    assert [gain.tolist() for gain in gains] == [[1, 0, 1], [0, 1]]


def test_shares_of_the_largest_score_compare_layers_of_different_sizes():
    large, small = torch.tensor([100.0, 80.0, 10.0]), torch.tensor([1.0, 0.5])
    _, plain = select(Threshold(floor=0), [large, small], 3)
    _, scaled = select(Threshold(floor=0, scale="layer_max"), [large, small], 3)
    assert [gain.tolist() for gain in plain] == [[1, 1, 1], [0, 0]]
    assert [gain.tolist() for gain in scaled] == [[1, 1, 0], [1, 0]]  # 1, 0.8, 0.1 and 1, 0.5


def test_a_layer_of_zeros_has_shares_of_zero():
    _, gains = select(Threshold(scale="layer_max"), [torch.zeros(3), ONE], 3)
    assert [gain.tolist() for gain in gains] == [[1, 0, 0], [1, 0, 1]]


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="no scale 'max'; there are layer_max"):
        Threshold(scale="max")


def test_a_given_threshold_keeps_what_reaches_it():
    selection, gains = select(Fixed(threshold=2.0), [ONE, TWO], 5)
    assert [gain.tolist() for gain in gains] == [[1, 0, 1], [0, 1]]
    assert selection.cost == 3


def test_a_given_threshold_that_exceeds_the_budget_is_refused():
    with pytest.raises(OverBudgetError) as caught:
        select(Fixed(threshold=2.0), [ONE, TWO], 2)
    assert caught.value.least == 3


def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3),
        nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip


@pytest.mark.parametrize("removed", [1, 100, 500, 777, 900])
def test_masks_equal_those_of_torch(removed):
    ours = net()
    theirs = copy.deepcopy(ours)
    weights = [
        (module, "weight") for module in theirs if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    torch_prune.global_unstructured(weights, torch_prune.L1Unstructured, amount=removed)
    params = sum(p.numel() for p in ours.parameters())
    plain = Method(Magnitude(), Weights(), Threshold(floor=0))  # torch knows no floors
    report = prune(ours, plain, (params - removed) / params)
    assert report.left == params - removed
    for module, pruned in zip(ours, theirs, strict=True):
        if hasattr(pruned, "weight_mask"):
            assert torch.equal((module.weight != 0).float(), pruned.weight_mask)
            assert torch.equal(module.weight, pruned.weight)
