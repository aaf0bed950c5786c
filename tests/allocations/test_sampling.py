"""Draws that are right on average, with exact counts, the same wherever they are made."""

import itertools
import math

import pytest
import torch
from rows import repeated, rows_of
from torch import nn

from lightning_prune.allocations import Candidate, EqualError, WaterFilling
from lightning_prune.allocations.distinct import adaptive_draws, expected_distinct
from lightning_prune.allocations.rows import Rows
from lightning_prune.allocations.sampling import bottom_k, with_replacement
from lightning_prune.criteria.ties import ties_broken
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.structures import Weights

TIMES = 20_000


def nothing(rows):
    return torch.zeros(len(rows.owner), dtype=torch.bool)


def drawn(share, count, times=TIMES, draw=bottom_k, seed=0):
    """(times, units): gains of many independent draws."""
    rows = repeated(share, times)
    counts = torch.full((times,), float(count), dtype=torch.float64)
    return draw(rows, counts, nothing(rows), seed).view(times, -1)


def candidate(name="fc", shape=(4, 6), gone=None):
    """Single weights of both signs with random scores; the same at every call."""
    draw = torch.Generator().manual_seed(5)
    module = nn.Linear(shape[1], shape[0])
    module.weight.data = torch.randn(shape, generator=draw)
    layer = Layer(name, module)
    (group,) = Weights().groups([layer], None)
    return Candidate(group, Weights(), torch.rand(group.size, generator=draw), gone)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("share", [(2, 3, 2, 5, 1), (0.5, 1, 1, 2, 8)])
def test_counts_are_exact_and_every_unit_is_right_on_average(share, count):
    """A unit's expected gain is 1: sums over a row keep their expectation."""
    gains = drawn(share, count)
    assert ((gains != 0).sum(1) == count).all()
    assert (gains[gains != 0] >= 1).all(), "one over a probability"
    # the heavy tail of a rare unit's gain is bounded here by the sum it enters
    weighted = gains * torch.tensor(share, dtype=torch.float64)
    mean, error = weighted.mean(0), weighted.std(0) / math.sqrt(TIMES)
    assert ((mean - torch.tensor(share, dtype=torch.float64)).abs() < 4 * error + 1e-9).all()


def test_the_first_is_drawn_in_proportion_and_the_next_in_proportion_to_what_is_left():
    """Successive sampling: (2, 3, 5) gives the first as it is, and pairs as 2/10 * 3/8 + ..."""
    p = (0.2, 0.3, 0.5)
    one, two = drawn(p, 1) != 0, drawn(p, 2, seed=1) != 0
    out = [
        sum(p[a] * p[b] / (1 - p[a]) for a, b in itertools.permutations({0, 1, 2} - {c}))
        for c in range(3)
    ]  # the probability that c is the one left out
    for seen, wanted in ((one, torch.tensor(p)), (two, 1 - torch.tensor(out))):
        error = (wanted * (1 - wanted) / TIMES).sqrt()
        assert ((seen.double().mean(0) - wanted).abs() < 4 * error).all()


def test_two_units_by_hand():
    """Of two units one stays; its gain is one over the chance to come before the other."""
    rows = rows_of((1.0, 3.0))
    generator = torch.Generator().manual_seed(7)
    arrival = -torch.log1p(-torch.rand(2, dtype=torch.float64, generator=generator))
    arrival = arrival / torch.tensor([1.0, 3.0])
    first, last = int(arrival.argmin()), int(arrival.argmax())
    gains = bottom_k(rows, torch.ones(1, dtype=torch.float64), nothing(rows), 7)
    share = (1.0, 3.0)[first]
    assert gains[last] == 0
    assert float(gains[first]) == pytest.approx(1 / (1 - math.exp(-float(arrival[last]) * share)))


def test_the_scale_of_shares_does_not_matter():
    one, other = (drawn(share, 2, 100) for share in ((2, 3, 5), (0.02, 0.03, 0.05)))
    assert torch.allclose(one, other)


def test_a_row_that_stays_whole_is_not_rescaled():
    assert torch.equal(drawn((2, 3, 5), 3, 10), torch.ones(10, 3, dtype=torch.float64))


def test_what_scores_nothing_is_drawn_when_nothing_else_is_left():
    """Then nothing that scores is left out, and nothing is rescaled."""
    gains = drawn((0, 2, 0, 3), 3, 10)
    assert torch.equal(gains, torch.tensor([[1.0, 1, 0, 1]] * 10, dtype=torch.float64))
    assert not drawn((0, 2, 0, 3), 1, 100)[:, [0, 2]].any()


def test_what_is_certain_stays_as_it_is_and_the_rest_is_drawn():
    rows = repeated((5, 1, 2, 3), TIMES)
    certain = torch.tensor([True, False, False, False]).repeat(TIMES)
    gains = bottom_k(rows, torch.full((TIMES,), 2.0).double(), certain, 0).view(TIMES, 4)
    assert (gains[:, 0] == 1).all()
    assert ((gains != 0).sum(1) == 2).all()
    error = gains.std(0) / math.sqrt(TIMES)
    assert ((gains.mean(0) - 1).abs() <= 4 * error).all()


@pytest.mark.parametrize(
    "allocation",
    [WaterFilling("random"), WaterFilling("hybrid"), EqualError("random"), EqualError("partial")],
    ids=lambda a: f"{type(a).__name__} {a.select}",
)
def test_every_row_keeps_as_many_as_its_keys_said(allocation):
    some = candidate()
    rows = Rows.of(some, allocation.by_sign)
    for count in (3, 9, 15, 23):
        (key,) = allocation.keys([some])
        kept = torch.zeros(24).index_fill_(0, key.argsort(descending=True)[:count], 1.0)
        gains = allocation.gains(some, kept)
        assert torch.equal(rows.sums(gains != 0), rows.sums(kept))
        assert gains.dtype == kept.dtype


def test_draws_are_a_function_of_seed_name_and_what_is_left():
    kept = torch.tensor([1.0, 0, 0] * 8)
    gone = torch.ones(24).index_fill_(0, torch.tensor([1]), 0.0)
    here, there, left = candidate(), candidate("head"), candidate(gone=gone)
    stream = torch.get_rng_state()
    first = WaterFilling().gains(here, kept)
    assert torch.equal(stream, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, WaterFilling().gains(candidate(), kept))
    others = [
        WaterFilling(seed=1).gains(here, kept),
        WaterFilling().gains(there, kept),
        WaterFilling().gains(left, kept),
    ]
    assert not any(torch.equal(first, other) for other in others)
    assert others[-1][1] == 0


def test_what_is_gone_is_never_drawn():
    gone = (torch.arange(24) % 2).float()
    for seed in range(20):
        some = candidate(gone=gone)
        gains = WaterFilling(seed=seed).gains(some, gone * (torch.arange(24) % 3 > 0))
        assert not gains[gone == 0].any()
        everything = WaterFilling(seed=seed).gains(some, gone)
        assert torch.equal(everything, gone), "all that is left stays as it is"


def test_distinct_units_of_draws_with_replacement():
    """Two draws from (2, 3, 2) / 7 by all nine outcomes; the others by the same sum."""
    p = torch.tensor([2, 3, 2], dtype=torch.float64) / 7
    pairs = list(itertools.product(range(3), repeat=2))
    by_hand = sum(float(p[a] * p[b]) * len({a, b}) for a, b in pairs)
    assert by_hand == pytest.approx(81 / 49)
    wanted = torch.tensor([1, 1.6531, 2.0845, 2.3728, 2.5672, 2.6996, 2.7904]).double()
    assert torch.allclose(expected_distinct(p, torch.arange(1, 8)), wanted, atol=5e-5)
    assert float(expected_distinct(p, torch.tensor([2]))) == pytest.approx(by_hand)


def test_draws_for_a_number_of_distinct_units():
    """Ten equal ones have a closed form; and the smallest N whose expectation rounds up."""
    p = torch.full((10,), 0.1, dtype=torch.float64)
    wanted = torch.tensor([2, 5, 9])
    closed = [math.ceil(math.log(10 / (10 - m)) / math.log(10 / 9)) for m in (2, 5, 9)]
    assert adaptive_draws(p, wanted, rounded=False).tolist() == closed == [3, 7, 22]
    every = torch.arange(11)
    found = adaptive_draws(p, every)
    assert found[0] == 0
    for count, draws in zip(every[1:], found[1:], strict=True):
        seen = expected_distinct(p, torch.tensor([draws - 1, draws]))
        assert seen[0] <= count - 1 + 1e-6 < seen[1]


def test_draws_for_very_uneven_units_are_many_and_finite():
    p = torch.tensor([1.0, *[1e-12] * 9], dtype=torch.float64)
    found = adaptive_draws(p / p.sum(), torch.arange(1, 11))
    assert found.isfinite().all()
    assert (found.diff() > 0).all()
    assert found[-1] > 1e12


def test_the_published_estimator_is_right_on_average_and_keeps_no_exact_count():
    """(2, 3, 2) / 7, two of them wanted: two draws, gains n / (2 p); sum over outcomes is 1."""
    times = 500
    gains = drawn((2, 3, 2), 2, times, draw=with_replacement)
    p = torch.tensor([2, 3, 2], dtype=torch.float64) / 7
    assert adaptive_draws(p, torch.tensor([2])).tolist() == [2]
    met = gains * 2 * p
    assert torch.allclose(met, met.round())
    assert (met.sum(1).round() == 2).all()
    error = gains.std(0) / math.sqrt(times)
    assert ((gains.mean(0) - 1).abs() < 4 * error).all()
    distinct = (gains != 0).sum(1).double()
    assert set(distinct.tolist()) == {1, 2}
    assert abs(distinct.mean() - 81 / 49) < 4 * distinct.std() / math.sqrt(times)


def test_the_published_estimator_leaves_a_row_that_it_meets_whole():
    gains = drawn((50, 1, 1, 1), 3, 200, draw=with_replacement)
    whole = (gains != 0).all(1)
    assert whole.any()
    assert (gains[whole] == 1).all()
    assert torch.equal(
        drawn((0, 2, 3), 2, 1, draw=with_replacement)[0] != 0, torch.tensor([False, True, True])
    )


def test_draws_of_the_published_estimator_are_never_made_one_by_one():
    """One edge of .999 and a thousand small ones take a million draws and more."""
    share = [0.999, *[1e-9] * 1000]
    gains = drawn(share, 900, 1, draw=with_replacement)
    assert gains[0, 0] == pytest.approx(1, abs=1e-3)
    assert int((gains != 0).sum()) == pytest.approx(900, abs=60)


def test_the_published_estimator_says_that_it_meets_budgets_on_average():
    assert WaterFilling(replace=True).expected
    assert not WaterFilling().expected
    assert not EqualError("top", replace=True).expected


@pytest.mark.parametrize("allocation", [WaterFilling, EqualError])
def test_an_unknown_selection_is_refused(allocation):
    with pytest.raises(ValueError, match="selects by 'top', 'random'"):
        allocation("best")


def test_single_weights_have_a_row_for_every_filter_and_sign():
    module = nn.Conv2d(2, 3, (1, 2))
    module.weight.data = torch.tensor(
        [[1.0, -2, 3, 4], [-1, -2, 5, 6], [1, 1, -1, 1]]
    ).view(3, 2, 1, 2)  # fmt: skip
    (group,) = Weights().groups([Layer("conv", module)], None)
    rows = Rows.of(Candidate(group, Weights(), torch.arange(12.0) + 1), by_sign=True)
    assert rows.owner.tolist() == [0, 1, 0, 0, 3, 3, 2, 2, 4, 4, 5, 4]
    assert rows.total.tolist() == [8, 2, 15, 11, 31, 11]
    assert rows.ranks().tolist() == [3, 1, 2, 1, 2, 1, 2, 1, 3, 2, 1, 1]


def test_transposed_layers_have_their_filters_along_the_second_dimension():
    module = nn.ConvTranspose1d(2, 3, 1)
    module.weight.data = torch.tensor([[1.0, 2, -3], [4, -5, 6]])[..., None]
    layer = Layer("up", module, out_dim=1, in_dim=0)
    group = Group("up", (layer,), (), 6)
    rows = Rows.of(Candidate(group, Weights(), torch.ones(6)), by_sign=True)
    assert rows.owner.tolist() == [0, 2, 5, 0, 3, 4]


def test_scores_below_the_precision_of_float32_break_ties_and_a_dead_row_scores_nothing():
    module = nn.Linear(4, 2)
    module.weight.data = torch.tensor([[1.0, 3, 2, 3], [1, 1, 1, 1]])
    (group,) = Weights().groups([Layer("fc", module)], None)
    score = ties_broken(torch.tensor([1, 1, 1, 0, 1e-8, 0, 1e-8, 1e-8]), module.weight.flatten())
    rows = Rows.of(Candidate(group, Weights(), score), by_sign=True)
    assert rows.order.tolist() == [1, 2, 0, 3, 4, 6, 7, 5]
    assert rows.share.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert rows.total.tolist() == [3, 0, 0, 0]
