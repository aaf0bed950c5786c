"""Norms of units, on numbers that can be checked by eye."""

import pytest
import torch
from torch import nn

from lightning_prune.criteria import Magnitude
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Filters, Weights


def layer(weight, module=None):
    weight = torch.tensor(weight)
    module = module or nn.Linear(weight.shape[1], weight.shape[0])
    module.weight = nn.Parameter(weight)
    (found,) = find_layers(module)
    return found


ROWS = layer([[3.0, -4.0], [0.0, 0.5], [-1.0, -1.0]])


def test_single_weights_score_their_absolute_value_whatever_the_norm():
    for p in (0.5, 1.0, 2.0, float("inf")):
        score = Magnitude(p).score(ROWS, Weights())
        assert score.tolist() == [3.0, 4.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("p", "scores"),
    [(1.0, [7.0, 0.5, 2.0]), (2.0, [5.0, 0.5, 2**0.5]), (float("inf"), [4.0, 0.5, 1.0])],
)
def test_filters_score_the_norm_of_their_row(p, scores):
    assert Magnitude(p).score(ROWS, Filters()).tolist() == pytest.approx(scores)


def test_filters_of_a_transposed_convolution_are_its_columns():
    up = layer([[[[3.0]], [[1.0]]], [[[4.0]], [[0.0]]]], nn.ConvTranspose2d(2, 2, 1))
    assert Magnitude().score(up, Filters()).tolist() == [5.0, 1.0]


def test_filters_of_a_convolution_run_over_inputs_and_places():
    weight = torch.zeros(2, 3, 2, 2)
    weight[0, 1] = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    weight[1, 2, 0, 0] = -3.0
    assert Magnitude().score(layer(weight.tolist(), nn.Conv2d(3, 2, 2)), Filters()).tolist() == [
        2,
        3,
    ]


def test_signed_scores_are_the_weights_themselves_and_cost_no_copy():
    signed = Magnitude().signed_score(ROWS, Weights())
    assert signed.data_ptr() == ROWS.weight.data_ptr()
    assert torch.equal(signed.abs(), Magnitude().score(ROWS, Weights()))
    assert Magnitude().signed_score(ROWS, Filters()) is None


def test_weights_twice_as_large_have_scores_twice_as_large():
    more = layer((2 * ROWS.weight).tolist())
    for structure in (Weights(), Filters()):
        doubled = Magnitude().score(more, structure)
        assert torch.allclose(doubled, 2 * Magnitude().score(ROWS, structure))


@pytest.mark.parametrize("p", [0.0, -1.0, float("nan")])
def test_an_order_that_is_not_positive_is_refused(p):
    with pytest.raises(ValueError, match="positive order of the norm"):
        Magnitude(p)
