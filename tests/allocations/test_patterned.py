"""Patterned: the n best of every block, ties by place, what is gone stays gone."""

import pytest
import torch
from torch import nn

from lightning_prune.allocations import Candidate, OverBudgetError, Patterned, allocate
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Pattern


def kept(scores, pattern=None, budget=None, gone=None, shape=(1, 4)):
    pattern = pattern or Pattern(2, 4)
    layers = find_layers(nn.Sequential(nn.Linear(shape[1], shape[0])))
    (group,) = pattern.groups(layers, None)
    values = torch.tensor(scores, dtype=torch.float32)
    held = None if gone is None else torch.tensor(gone, dtype=torch.float32)
    candidate = Candidate(group, pattern, values, held)
    selection = allocate(
        Patterned(), [candidate], len(values) if budget is None else budget, "params"
    )
    assert selection.cost == int(selection.gains[group][1].sum())
    assert selection.cut is None
    return selection.gains[group][1].int().tolist()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1]),
        ([4, 1, 3, 2], [1, 0, 1, 0]),
        ([5, 5, 5, 5], [1, 1, 0, 0]),
        ([1, 5, 5, 5], [0, 1, 1, 0]),
        ([0, 0, 0, 1], [1, 0, 0, 1]),
    ],
)
def test_the_best_two_of_four_and_the_first_of_equals(scores, expected):
    assert kept(scores) == expected


def test_blocks_are_apart():
    assert kept([1, 2, 3, 4, 50, 60, 70, 80], shape=(1, 8)) == [0, 0, 1, 1, 0, 0, 1, 1]
    assert kept([1, 2, 3, 4, 80, 70, 60, 50], shape=(2, 4)) == [0, 0, 1, 1, 1, 1, 0, 0]
    assert kept([1, 2, 3, 4], Pattern(1, 2)) == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ([1, 1, 1, 0], [0, 1, 1, 0]),  # the best is gone: the next two stay
        ([0, 1, 0, 0], [0, 1, 0, 0]),  # fewer than two are there
        ([0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_what_is_gone_stays_gone(gone, expected):
    assert kept([1, 2, 3, 4], gone=gone) == expected


def test_the_budget_only_refuses():
    assert kept([1, 2, 3, 4], budget=2) == [0, 0, 1, 1]
    with pytest.raises(OverBudgetError) as refused:
        kept([1, 2, 3, 4], budget=1)
    assert refused.value.least == 2


def test_long_blocks_equal_a_stable_sort():
    scores = torch.randint(0, 5, (40, 24)).float()
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :7]
    expected = torch.zeros_like(scores).scatter_(1, order, 1.0)
    found = kept(scores.flatten().tolist(), Pattern(7, 24), shape=(40, 24))
    assert found == expected.flatten().int().tolist()
