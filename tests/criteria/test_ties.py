"""Equal scores ordered by magnitude, and no score changed."""

import torch
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Uniform
from lightning_prune.criteria import SiPP
from lightning_prune.criteria.ties import ties_broken
from lightning_prune.structures import Weights


def test_pairs_are_ordered_by_score_and_then_by_magnitude():
    score = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.7, 0.5])
    magnitude = torch.tensor([2.0, 3.0, 9.0, 8.0, 0.1, 0.0])
    order = ties_broken(score, magnitude).argsort(descending=True)
    assert order.tolist() == [4, 1, 0, 5, 2, 3]


def test_they_round_to_the_scores_and_keep_their_order():
    """Neighbours in float32, the smallest and the largest numbers, and any magnitude."""
    some = torch.cat([torch.rand(2000), 10 ** -(45 * torch.rand(2000)), torch.tensor([1.0, 0.0])])
    score = torch.cat([some, torch.nextafter(some, torch.tensor(2.0))]).sort().values
    magnitude = (10 ** (80 * torch.rand(len(score)) - 40)).flip(0)
    found = ties_broken(score, magnitude)
    assert torch.equal(found.float(), score)
    steps, distinct = found.diff(), score.diff() > 0
    assert (steps[distinct] > 0).all()


def test_equal_pairs_are_equal_and_nan_is_not_hidden():
    found = ties_broken(torch.tensor([0.3, 0.3, torch.nan]), torch.tensor([1.5, 1.5, 1.0]))
    assert found[0] == found[1]
    assert found[2].isnan()


def test_magnitudes_count_to_their_leading_bits():
    magnitude = torch.tensor([1.0, 1.0 + 4e-6])
    equal = torch.full((2,), 1.9999999)
    assert ties_broken(equal, magnitude).diff() > 0
    assert ties_broken(equal * 0, torch.tensor([1.0, 1.0 + 1.2e-7])).diff() > 0


def test_where_no_data_reach_the_largest_weights_stay():
    """A batch of zeros: by magnitude over all layers, as if there were no data."""
    kept = {}
    for name in ("sipp", "magnitude"):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.Flatten(), nn.Linear(64, 3))
        prune(net, name, 0.5, loader=[torch.zeros(3, 2, 6, 6)])
        assert all(p.isfinite().all() for p in net.parameters())
        kept[name] = torch.cat([net[i].weight.flatten() != 0 for i in (0, 2)])
    assert torch.equal(kept["sipp"], kept["magnitude"])


def test_beyond_the_positive_scores_the_budget_is_filled_by_magnitude():
    """One of four inputs is alive: its three weights stay, and then the largest of the others."""
    layer = nn.Linear(4, 3, bias=False)
    layer.weight.data = torch.tensor(
        [[1.0, 4.0, 5.0, 6.0], [0.1, 0.2, 0.3, 9.0], [-1.0, 0.5, -8.0, 0.7]]
    )
    method = Method(SiPP(), Weights(), Uniform())
    prune(layer, method, 5 / 12, loader=[torch.tensor([[2.0, 0.0, 0.0, 0.0]])])
    assert layer.weight.tolist() == [[1, 0, 0, 0], [0.10000000149011612, 0, 0, 9], [-1, 0, -8, 0]]
