"""The same share of every layer."""

import pytest
import torch
from reference import group, select

from lightning_prune.allocations import Candidate, Uniform
from lightning_prune.structures import Weights


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5, 0.9])
def test_every_layer_keeps_the_share_to_within_a_unit(share):
    sizes = [1000, 333, 64, 10]
    budget = round(share * sum(sizes))
    selection, gains = select(Uniform(), [torch.rand(n) * 10**-n for n in sizes], budget)
    assert selection.cost == budget
    for size, gain in zip(sizes, gains, strict=True):
        assert abs(gain.sum() - share * size) <= 1


def test_within_a_layer_the_largest_scores_stay():
    one, two = torch.tensor([0.1, 0.4, 0.2, 0.3]), torch.tensor([10.0, 30.0, 40.0, 20.0])
    _, gains = select(Uniform(), [one, two], 4)
    assert [gain.tolist() for gain in gains] == [[0, 1, 0, 1], [0, 1, 1, 0]]


def test_equal_scores_are_taken_in_order():
    _, gains = select(Uniform(), [torch.ones(4), torch.ones(6)], 5)
    assert [gain.tolist() for gain in gains] == [[1, 1, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_ranks_are_shares_in_double_precision():
    """In single precision neighbouring ranks of twenty million units would be equal."""
    scores = torch.tensor([0.2, 0.9, 0.5])
    (key,) = Uniform().keys([Candidate(group("layer", 3), Weights(), scores)])
    assert key.tolist() == [-3 / 3, -1 / 3, -2 / 3]


def test_layers_that_cost_more_keep_the_same_share():
    scores = [torch.rand(100), torch.rand(100)]
    selection, gains = select(Uniform(), scores, 550, prices=[10, 1])
    assert [int(gain.sum()) for gain in gains] == [50, 50]
    assert selection.cost == 550


def test_what_is_gone_is_no_part_of_the_share_even_if_it_scores_well():
    scores = torch.arange(10.0)
    gone = [(scores < 6).float(), torch.ones(10)]  # the four best of the first layer left before
    _, gains = select(Uniform(), [scores, scores], 10, gone=gone)
    assert gains[0].nonzero().flatten().tolist() == [1, 2, 3, 4, 5]
    assert gains[1].nonzero().flatten().tolist() == [5, 6, 7, 8, 9]
