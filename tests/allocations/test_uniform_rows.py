"""The same share of every row."""

import pytest
import torch
from torch import nn

from lightning_prune.allocations import Candidate, UniformRows, allocate
from lightning_prune.network.network import Network
from lightning_prune.structures import Filters, Weights


def kept(module, score, budget, gone=None):
    """(weight's shape) 0 or 1."""
    network = Network(module)
    (group,) = Weights().groups(network.layers, network.graph)
    candidate = Candidate(group, Weights(), torch.as_tensor(score).float().flatten(), gone)
    selection = allocate(UniformRows(), [candidate], budget, "params")
    return selection.gains[group][1].view(module.weight.shape)


SCORE = [[9.0, 8.0, 7.0, 6.0], [0.1, 0.4, 0.3, 0.2], [5.0, 1.0, 1.0, 1.0]]


def test_rows_lose_alike_whatever_their_scale():
    flags = kept(nn.Linear(4, 3, bias=False), SCORE, 6)
    assert flags.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]]


def test_a_budget_within_a_rank_goes_to_rows_that_need_it_most():
    """Second best beside the row's sum: 8 / 30, 0.3 / 1 and 1 / 8."""
    assert kept(nn.Linear(4, 3, bias=False), SCORE, 4).sum(1).tolist() == [1, 2, 1]
    assert kept(nn.Linear(4, 3, bias=False), SCORE, 5).sum(1).tolist() == [2, 2, 1]


@pytest.mark.parametrize("budget", range(3, 13))
def test_rows_differ_by_one_weight_at_most(budget):
    counts = kept(nn.Linear(4, 3, bias=False), SCORE, budget).sum(1)
    assert counts.sum() == budget
    assert counts.amax() - counts.amin() <= 1


def test_rows_of_a_transposed_convolution_are_its_outputs():
    module = nn.ConvTranspose2d(2, 3, 1, bias=False)
    score = torch.tensor([[1.0, 5.0, 1.0], [2.0, 4.0, 9.0]])
    flags = kept(module, score, 3)
    assert flags.flatten(1).tolist() == [[0, 1, 0], [1, 0, 1]]


def test_what_is_gone_stands_behind_what_is_there():
    gone = torch.tensor([0.0, 1, 1, 1] + [1.0] * 8)
    assert kept(nn.Linear(4, 3, bias=False), SCORE, 6, gone)[0].tolist() == [0, 1, 1, 0]


def test_rows_without_any_score_lose_alike():
    flags = kept(nn.Linear(4, 3, bias=False), torch.zeros(3, 4), 6)
    assert flags.tolist() == [[1, 1, 0, 0]] * 3


def test_other_units_than_weights_are_refused():
    net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    network = Network(net, None, lambda: net(torch.zeros(1, 2)))
    groups = Filters().groups(network.layers, network.graph)
    candidates = [Candidate(group, Filters(), torch.rand(group.size)) for group in groups]
    with pytest.raises(ValueError, match="use the structure Weights"):
        UniformRows().keys(candidates)
