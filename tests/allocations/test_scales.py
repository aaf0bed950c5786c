"""Scales: LAMP by hand, and what is gone left out of every scale."""

import pytest
import torch
from reference import select

from lightning_prune.allocations import Threshold
from lightning_prune.allocations.scales import SCALES, lamp

SCORES = torch.tensor([2.0, 1.0, 3.0, 0.0])


def test_lamp_by_hand():
    # squares 4, 1, 9, 0; sums over what ranks at or before: 13, 14, 9, 14
    wanted = torch.tensor([4 / 13, 1 / 14, 1.0, 0.0], dtype=torch.float64)
    assert torch.equal(lamp(SCORES), wanted)


def test_lamp_does_not_depend_on_the_size_of_the_weights():
    assert torch.allclose(lamp(SCORES * 2.0**40), lamp(SCORES), rtol=1e-15)


def test_the_earlier_of_equal_scores_ranks_before():
    scores = lamp(torch.full((3,), 0.7)).tolist()
    assert scores == pytest.approx([1, 1 / 2, 1 / 3], rel=1e-15)


def test_a_threshold_on_lamp_compares_layers():
    small = torch.tensor([0.1, 0.1])  # 1 and 1/2, before 4/13 and 1/14 of the larger weights
    _, gains = select(Threshold(floor=0, scale="lamp"), [SCORES, small], 4)
    assert [gain.tolist() for gain in gains] == [[1, 0, 1, 0], [1, 1]]


@pytest.mark.parametrize("seed", range(3))
def test_lamp_keeps_the_order_within_a_layer_and_one_unit_of_every_layer(seed):
    draw = torch.Generator().manual_seed(seed)
    layers = [torch.rand(n, generator=draw) * 10.0**-n for n in (2, 3, 40)]
    for score in layers:
        assert torch.equal(lamp(score).argsort(), score.argsort())
    _, gains = select(Threshold(floor=0, scale="lamp"), layers, 3)
    assert [int(gain.sum()) for gain in gains] == [1, 1, 1]


def test_neighbours_in_a_large_layer_keep_their_order():
    score = torch.linspace(1, 2, 2**20)
    assert bool((lamp(score).diff() > 0).all())


def test_negative_scores_are_refused():
    with pytest.raises(ValueError, match="'lamp' squares scores, and some are negative"):
        select(Threshold(scale="lamp"), [torch.tensor([1.0, -1.0])], 1)


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_gone_changes_nothing_for_what_is_there(scale):
    """Scores that do not come from weights may be large where a unit is gone."""
    there, other = torch.tensor([4.0, 3.0, 1.0]), torch.tensor([2.0, 1.8, 1.0, 0.2])
    held = torch.tensor([0.0, 1.0, 1.0, 1.0])
    for budget in range(2, 7):
        _, alone = select(Threshold(scale=scale), [there, other], budget)
        values = [torch.cat([torch.tensor([1e3]), there]), other]
        _, gains = select(Threshold(scale=scale), values, budget, gone=[held, torch.ones(4)])
        assert gains[0].tolist() == [0, *alone[0].tolist()]
        assert torch.equal(gains[1], alone[1])


@pytest.mark.parametrize("scale", SCALES)
def test_layers_of_zeros_and_layers_that_are_gone_are_layers_too(scale):
    zeros, gone = [torch.zeros(3), SCORES], [torch.ones(3), torch.zeros(4)]
    _, gains = select(Threshold(scale=scale), zeros, 2, gone=gone)
    assert [gain.tolist() for gain in gains] == [[1, 1, 0], [0, 0, 0, 0]]
