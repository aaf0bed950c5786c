"""Agreement of outputs: of a network with itself, by hand, and batch by batch."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_prune.evaluation import MatchingPredictions, SoftmaxDistance

METRICS = (MatchingPredictions, SoftmaxDistance)


def test_a_network_agrees_with_itself_exactly():
    logits = torch.randn(100, 10) * 30
    matching, distance = MatchingPredictions(), SoftmaxDistance()
    assert float(matching(logits, logits)) == 1
    assert float(distance(logits, logits)) == 0


def test_two_samples_by_hand():
    """Softmax of (log 3, 0) is (3/4, 1/4), of (0, 0) it is (1/2, 1/2)."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    others = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    assert float(MatchingPredictions()(logits, others)) == 0.5
    expected = (math.sqrt(2) / 4 + math.sqrt(2) / 2) / 2
    assert float(SoftmaxDistance()(logits, others)) == pytest.approx(expected)


def test_opposite_certainty_is_the_largest_distance():
    logits = torch.tensor([[1e3, 0.0]])
    assert float(SoftmaxDistance()(logits, logits.flip(1))) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("make", METRICS)
def test_batches_and_their_order_do_not_matter(make):
    logits, others = torch.randn(2, 50, 4)
    whole, parts = make(), make()
    whole.update(logits, others)
    for part in torch.randperm(50).split(7):
        parts.update(logits[part], others[part])
    assert float(whole.compute()) == pytest.approx(float(parts.compute()), abs=1e-12)


@pytest.mark.parametrize("make", METRICS)
def test_processes_are_added(make):
    logits, others = torch.randn(2, 50, 4)
    whole, *ranks = (make() for _ in range(3))
    whole.update(logits, others)
    for rank, part in zip(ranks, (slice(0, 20), slice(20, 50)), strict=True):
        rank.update(logits[part], others[part])
    first, second = ranks
    for name, reduction in first._reductions.items():
        setattr(first, name, reduction(torch.stack([getattr(first, name), getattr(second, name)])))
    assert float(first.compute()) == pytest.approx(float(whole.compute()), abs=1e-12)


def test_what_is_not_finite_matches_nothing():
    logits = torch.tensor([[math.nan, 0.0], [1.0, 0.0]])
    assert float(MatchingPredictions()(logits, logits)) == 0.5
    assert math.isnan(float(SoftmaxDistance()(logits, logits)))


@pytest.mark.parametrize("make", METRICS)
def test_other_shapes_are_refused(make):
    with pytest.raises(ValueError, match=r"not \(3, 4\) and \(3, 5\)"):
        make().update(torch.zeros(3, 4), torch.zeros(3, 5))
