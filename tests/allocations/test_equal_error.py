"""Equal error: one order that is the bisection over all errors, and three ways to select."""

import math

import pytest
import torch
from columns import Columns
from torch import nn

from lightning_prune.allocations import Bernstein, Candidate, EqualError, allocate
from lightning_prune.network.layers import Layer


def candidate(scores, name="fc", outputs=1, gone=None):
    """Input channels of a linear layer."""
    scores = torch.as_tensor(scores)
    layer = Layer(name, nn.Linear(len(scores), outputs))
    (found,) = Columns().groups([layer], None)
    return Candidate(found, Columns(), scores, gone)


LOG = math.log(8 * 2 * 1 / 1e-16)  # one position, one place of the kernel


def published_count(scores, error):
    """u(error) as published: m draws for the error, then the distinct ones expected, rounded up."""
    total = float(scores.double().sum())
    alpha = 2 * 3 * LOG * total
    draws = max(1, math.ceil(3 * (6 + 2 * error) * alpha / error**2))
    p = scores.double() / total
    return math.ceil(float((1 - torch.exp(draws * torch.log1p(-p))).sum()) - 1e-9)


def kept_of(count, units):
    return (torch.arange(units) < count).float()


@pytest.mark.parametrize("trial", range(20))
def test_a_cut_at_an_error_leaves_the_published_number_of_channels(trial):
    """The key is the largest error that takes the channel, so counting keys gives u(error)."""
    torch.manual_seed(trial)
    scores = torch.rand(int(torch.randint(2, 60, ()))) ** 4
    (key,) = EqualError().keys([candidate(scores)])
    for exponent in torch.linspace(-2, 6, 40).tolist():
        error = 10**exponent
        assert int((key > error).sum()) == published_count(scores, error), error


def test_the_best_of_a_layer_have_the_largest_keys():
    scores = torch.tensor([0.1, 0.9, 0.3, 0.5])
    (key,) = EqualError().keys([candidate(scores)])
    assert key.argsort(descending=True).tolist() == scores.argsort(descending=True).tolist()
    assert key[1] == torch.inf, "one draw meets one channel at any error"


def test_fewer_channels_are_left_the_larger_the_error():
    torch.manual_seed(0)
    for scores in (torch.rand(30), torch.rand(200) ** 6):
        counts = [published_count(scores, 10**e) for e in torch.linspace(-2, 8, 60).tolist()]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 1


def test_every_layer_is_left_with_what_one_error_takes_within_a_channel():
    """Bisected as published, the sizes on both sides of the budget enclose the selection."""
    torch.manual_seed(1)
    layers = [candidate(torch.rand(n) ** k, f"fc{n}") for n, k in ((40, 1), (25, 3), (60, 8))]
    for budget in (10, 40, 80, 110):
        chosen = allocate(EqualError(), layers, budget, "params")
        counts = [int(chosen.gains[c.group][1].sum()) for c in layers]
        assert sum(counts) == chosen.cost == budget
        low, high = 1e-3, 1e9
        for _ in range(200):
            middle = math.sqrt(low * high)
            size = sum(published_count(c.score, middle) for c in layers)
            low, high = (middle, high) if size > budget else (low, middle)
        over = [published_count(c.score, low) for c in layers]
        under = [published_count(c.score, high) for c in layers]
        assert all(u <= n <= o for u, n, o in zip(under, counts, over, strict=True))
        assert sum(over) - sum(under) <= len(layers)


def test_at_usual_sizes_a_layer_gets_draws_in_proportion_to_its_sum():
    """A large error takes m = 6 alpha / error draws, alpha being proportional to the sum."""
    bound = Bernstein("pfp")
    for total in (1.0, 7.0, 30.0):
        alpha = bound.alpha_at(torch.tensor(total).double(), 1, 1)
        draws = bound.draws(alpha, torch.tensor(1e6).double())
        assert float(draws) == pytest.approx(6 * float(alpha) / 9 / 1e6, rel=1e-5)


def test_draws_for_an_error_with_the_published_constants():
    """m = 3 (6 + 2 eps) 2 * 3 ln(8 * 2 / 1e-16) S / eps^2; S = 2, eps = 100."""
    bound = Bernstein("pfp")
    alpha = bound.alpha_at(torch.tensor(2.0).double(), 1, 1)
    by_hand = 3 * 206 * (6 * math.log(16e16) * 2) / 100**2
    assert float(bound.draws(alpha, torch.tensor(100.0).double())) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("p", "stay", "certain"),
    [
        ((0.5, 0.25, 0.125, 0.125), 2, 1),
        ((0.5, 0.25, 0.125, 0.125), 3, 1),
        ((0.7, 0.1, 0.1, 0.1), 2, 1),
        ((0.7, 0.1, 0.1, 0.1), 3, 1),
        ((0.7, 0.1, 0.1, 0.1), 1, 1),
        ((0.4, 0.4, 0.1, 0.1), 3, 2),
    ],
)
def test_partial_keeps_those_that_the_draws_would_hardly_miss(p, stay, certain):
    """p >= 1 / N with N of 2, 3, 2, 4, 1 and 4 draws; the others are drawn and rescaled."""
    seen = set()
    for seed in range(30):
        gains = EqualError("partial", seed=seed).gains(candidate(p), kept_of(stay, 4))
        assert int(gains.count_nonzero()) == stay
        assert (gains[:certain] == 1).all()
        rest = gains[certain:]
        assert (rest[rest != 0] > 1).all()
        seen.add(tuple((rest != 0).tolist()))
    assert (len(seen) > 1) == (stay > certain)


def test_partial_is_right_on_average_for_what_it_draws():
    p, times = torch.tensor([0.7, 0.12, 0.1, 0.08]), 200
    some = candidate(p)
    allocation = [EqualError("partial", seed=seed) for seed in range(times)]
    gains = torch.stack([a.gains(some, kept_of(2, 4)) for a in allocation])
    error = gains.std(0) / math.sqrt(times)
    assert ((gains.mean(0) - 1).abs() <= 4 * error).all()


def test_random_draws_all_and_the_best_are_not_rescaled():
    p = (0.5, 0.25, 0.125, 0.125)
    best = EqualError("top").gains(candidate(p), kept_of(2, 4))
    assert best.tolist() == [1, 1, 0, 0]
    gains = [EqualError("random", seed=s).gains(candidate(p), kept_of(2, 4)) for s in range(50)]
    assert all(int(g.count_nonzero()) == 2 and (g[g != 0] > 1).all() for g in gains)
    assert any(g[0] == 0 for g in gains)


@pytest.mark.parametrize("select", ["top", "random", "partial"])
def test_exact_budgets_whatever_is_drawn(select):
    torch.manual_seed(2)
    layers = [candidate(torch.rand(n) ** 5, f"fc{n}", outputs=2) for n in (30, 12, 50)]
    for budget in (20, 60, 184):
        chosen = allocate(EqualError(select), layers, budget, "params")
        cost = sum(2 * int(chosen.gains[c.group][1].count_nonzero()) for c in layers)
        assert cost == chosen.cost == budget
    whole = allocate(EqualError(select), layers, 184, "params")
    assert all((whole.gains[c.group][1] == 1).all() for c in layers)


def test_what_scores_nothing_leaves_first_and_a_dead_layer_keeps_its_floor():
    """No sum to divide by: all of the layer goes before anything that scores."""
    dead, alive = candidate(torch.zeros(5), "dead"), candidate([0.0, 2, 0, 1], "alive")
    for select in ("top", "random", "partial"):
        chosen = allocate(EqualError(select), [dead, alive], 3, "params")
        assert chosen.gains[alive.group][1].tolist() == [0, 1, 0, 1]
        assert chosen.gains[dead.group][1].tolist() == [1, 0, 0, 0, 0]
    chosen = allocate(EqualError("top", floor=0), [dead, alive], 3, "params")
    assert chosen.gains[dead.group][1].sum() + chosen.gains[alive.group][1].sum() == 3


def test_one_channel_and_scores_that_saturate():
    """The maxima over places and samples make ties of 1; the first of equal ones stay."""
    single, tied = candidate([1.0], "single"), candidate(torch.ones(6), "tied")
    chosen = allocate(EqualError(), [single, tied], 4, "params")
    assert chosen.gains[single.group][1].tolist() == [1]
    assert chosen.gains[tied.group][1].tolist() == [1, 1, 1, 0, 0, 0]


def test_what_is_gone_does_not_come_back():
    gone = torch.tensor([1.0, 0, 1, 1])
    for select in ("top", "random", "partial"):
        some = candidate([0.3, 0.9, 0.2, 0.1], gone=gone)
        for budget in (1, 2, 3):
            gains = allocate(EqualError(select), [some], budget, "params").gains[some.group][1]
            assert gains[1] == 0
            assert int(gains.count_nonzero()) == budget
