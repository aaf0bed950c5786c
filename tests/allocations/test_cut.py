"""The exact cut equals the longest prefix that fits, whatever the keys, the prices and the size."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings, strategies as st
from reference import GONE, OneByOne, every_prefix, longest_prefix, select

from lightning_prune.allocations import Allocation, OverBudgetError, Threshold, cut

FREE = Threshold(floor=0)
SMALL, LARGE = (700, 250, 50), (200_000, 99_000, 1_001)  # below and above the limit for sampling


def normal(size):
    return torch.randn(size)


KEYS = {
    "distinct": normal,
    "seven values": lambda n: torch.randint(-3, 4, (n,)).float(),
    "all equal": lambda n: torch.full((n,), 0.25),
    "zeros of both signs": lambda n: (
        torch.zeros(n).copysign(torch.randn(n)) * (torch.rand(n) < 0.9)
        + torch.randn(n) * (torch.rand(n) < 0.05)
    ),
    "denormal": lambda n: torch.randint(-50, 51, (n,)) * 2.0**-149,
    "huge and infinite": lambda n: torch.randn(n) * 1e38 * 10.0 ** torch.randint(-1, 2, (n,)),
    "half precision": lambda n: torch.randn(n).bfloat16(),
    "double precision": lambda n: 1 + torch.randn(n, dtype=torch.float64) * 1e-12,
    "mostly zero": lambda n: torch.randn(n) * (torch.rand(n) < 0.1),
    "sorted": lambda n: torch.linspace(-1, 1, n),
}


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "scores"])
@pytest.mark.parametrize("keys", KEYS)
def test_exact_to_one_unit(keys, signed, sizes):
    values = [KEYS[keys](size) for size in sizes]
    if not signed:
        values = [value.clamp_min(-1e38) for value in values]  # -inf says that a unit is gone
    scores = [value.abs() if signed else value for value in values]
    ordered = [score.to(torch.float64) for score in scores]
    for share in (0.013, 0.5, 0.9, 1.0):
        budget = round(share * sum(sizes))
        selection, gains = select(FREE, values, budget, signed=signed)
        wanted = longest_prefix(ordered, [1] * 3, budget)
        assert selection.cost == budget == sum(int(gain.sum()) for gain in gains)
        assert all(map(torch.equal, gains, wanted))


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
def test_precisions_that_differ_from_layer_to_layer(sizes):
    """Weights that differ in double precision only are told apart."""
    fine = 1 + torch.randn(sizes[0], dtype=torch.float64) * 1e-7
    values = [fine, fine[: sizes[1]].float(), torch.rand(sizes[2]).bfloat16()]
    wanted = longest_prefix([value.double() for value in values], [1] * 3, sum(sizes) // 2)
    for signed in (False, True):
        _, gains = select(FREE, values, sum(sizes) // 2, signed=signed)
        assert all(map(torch.equal, gains, wanted))


@pytest.mark.parametrize("prices", [(1, 1, 1), (1, 9, 200), (64, 1, 1000), (7, 0, 3)])
@pytest.mark.parametrize("keys", ["distinct", "seven values", "mostly zero"])
def test_multiply_adds_above_the_limit_for_sampling(keys, prices):
    scores = [KEYS[keys](size).abs() for size in LARGE]
    total = sum(price * size for price, size in zip(prices, LARGE, strict=True))
    for share in (0.02, 0.37, 0.95):
        budget = round(share * total)
        selection, gains = select(FREE, scores, budget, prices=list(prices))
        spread = [s if p else s + 1e9 for s, p in zip(scores, prices, strict=True)]
        wanted = longest_prefix(spread, prices, budget)  # what costs nothing comes first
        assert all(map(torch.equal, gains, wanted))
        assert budget - max(prices) < selection.cost <= budget


@pytest.mark.parametrize("ends", [(2.0, 3.0), (-3.0, -2.0), (0.0, 0.0), (torch.inf, torch.inf)])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "scores"])
@pytest.mark.parametrize("prices", [(1, 1, 1), (3, 1, 20)])
@pytest.mark.parametrize("kind", ["rounded", "double precision", "zeros of both signs"])
def test_a_bracket_that_misses_is_noticed(monkeypatch, ends, signed, prices, kind):
    """The sample is unlucky with a chance of 1 in 10,000; here it is made to be."""
    monkeypatch.setattr(cut, "bracket", lambda *_: ends)
    make = KEYS.get(kind, lambda size: torch.randn(size).round(decimals=4))
    values = [make(size) for size in LARGE]
    keys = [value.abs() if signed else value for value in values]
    total = sum(price * size for price, size in zip(prices, LARGE, strict=True))
    for budget in (total // 2, total * 9 // 10):
        _, gains = select(FREE, values, budget, prices=list(prices), signed=signed)
        assert all(map(torch.equal, gains, longest_prefix(keys, prices, budget)))


def test_a_few_units_that_cost_more_than_all_the_others():
    """Their prices are no part of most samples, so the bracket may lie anywhere."""
    scores = [torch.rand(300_000), torch.rand(12)]
    for budget in (10**6, 5 * 10**6, 11 * 10**6 + 17):
        selection, gains = select(FREE, scores, budget, prices=[1, 10**6])
        wanted = longest_prefix(scores, [1, 10**6], budget)
        assert all(map(torch.equal, gains, wanted))
        assert selection.cost <= budget


def test_what_is_gone_stays_gone_above_the_limit_for_sampling():
    gone = [(torch.rand(size) < 0.4).float() for size in LARGE]
    values = [torch.randn(size) * flags for size, flags in zip(LARGE, gone, strict=True)]
    left = int(sum(flags.sum() for flags in gone))
    for budget in (left // 3, left, sum(LARGE)):
        keys = [v.abs().masked_fill(g == 0, GONE) for v, g in zip(values, gone, strict=True)]
        for signed in (True, False):
            given = values if signed else [value.abs() for value in values]
            selection, gains = select(FREE, given, budget, signed=signed, gone=gone)
            assert all(map(torch.equal, gains, longest_prefix(keys, [1] * 3, budget)))
            assert selection.cost == min(budget, left)


def test_keys_that_are_not_numbers_are_refused():
    class Shares(Threshold):
        by_score = False

        def keys(self, candidates):
            return [candidate.score / candidate.score.sum() for candidate in candidates]

    with pytest.raises(ValueError, match=r"Shares\(.*made keys that are not numbers"):
        select(Shares(), [torch.rand(3), torch.zeros(3)], 3)


def test_layers_that_cost_nothing_are_kept():
    selection, gains = select(FREE, [torch.rand(4), torch.rand(3)], 0, prices=[0, 0])
    assert [gain.tolist() for gain in gains] == [[1, 1, 1, 1], [1, 1, 1]]
    assert selection.cost == 0


LAYERS = st.lists(
    st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 5)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(layers=LAYERS, share=st.floats(0, 1), floor=st.sampled_from([0, 1, 2, 0.5]))
def test_prices_against_every_prefix(layers, share, floor):
    """Ties and floors included, by both routes: one cut by price, and prefix by prefix."""
    scores = [torch.tensor(values, dtype=torch.float32) for values, _ in layers]
    prices, allocation = [price for _, price in layers], Threshold(floor=floor)
    budget = int(share * sum(p * len(s) for p, s in zip(prices, scores, strict=True)))
    keys = [values.tolist() for values in scores]
    for key, (values, _) in zip(keys, layers, strict=True):
        least = min(len(key), -int(-floor * len(key) // 1) if floor < 1 else floor)
        for best in sorted(range(len(key)), key=lambda i: -values[i])[:least]:
            key[best] = 9.0  # floors come before everything else
    costs = {
        sum(p * sum(flags) for p, flags in zip(prices, kept, strict=True)): kept
        for kept in every_prefix(keys)
    }
    floors = sum(p * key.count(9.0) for p, key in zip(prices, keys, strict=True))
    for structure in (None, OneByOne()):
        if floors > budget:
            with pytest.raises(OverBudgetError, match=f"costs {floors}"):
                select(allocation, scores, budget, prices=prices, structure=structure)
            continue
        selection, gains = select(allocation, scores, budget, prices=prices, structure=structure)
        best = max(cost for cost in costs if cost <= budget)
        assert selection.cost == best
        assert [gain.tolist() for gain in gains] == costs[best]


class Chain(OneByOne):
    """Layers of a chain: what is left of two that follow each other is multiplied."""

    def cost(self, gains, measure):
        left = [3, *(int(gain.count_nonzero()) for gain in gains.values()), 2]
        return sum(a * b for a, b in itertools.pairwise(left))


@settings(max_examples=100, deadline=None)
@given(
    layers=st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=5), min_size=2, max_size=3),
    share=st.floats(0, 1),
)
def test_costs_that_are_products_against_every_prefix(layers, share):
    scores = [torch.tensor(values, dtype=torch.float32) for values in layers]
    costs = []
    for kept in every_prefix(layers):
        left = [3, *(int(sum(flags)) for flags in kept), 2]
        costs.append((sum(a * b for a, b in itertools.pairwise(left)), kept))
    budget = int(share * costs[-1][0])
    cost, kept = [entry for entry in costs if entry[0] <= budget][-1]
    selection, gains = select(FREE, scores, budget, structure=Chain())
    assert selection.cost == cost
    assert [gain.tolist() for gain in gains] == kept


@dataclass(frozen=True)
class Blocks(Allocation):
    """Scores are classes, and a class stays or leaves as a whole."""

    atomic = True

    def keys(self, candidates):
        return [candidate.score for candidate in candidates]


@settings(max_examples=100, deadline=None)
@given(layers=LAYERS, share=st.floats(0, 1))
def test_atomic_ties_leave_together(layers, share):
    scores = [torch.tensor(values, dtype=torch.float32) for values, _ in layers]
    prices = [price for _, price in layers]
    budget = int(share * sum(p * len(s) for p, s in zip(prices, scores, strict=True)))
    selection, gains = select(Blocks(floor=0), scores, budget, prices=prices)
    classes = sorted({float(value) for score in scores for value in score}, reverse=True)
    choices = [[score >= least for score in scores] for least in [99.0, *classes]]
    costs = [sum(p * int(k.sum()) for p, k in zip(prices, kept, strict=True)) for kept in choices]
    best = max(i for i, cost in enumerate(costs) if cost <= budget)
    assert selection.cost == costs[best]
    assert [gain.tolist() for gain in gains] == [kept.float().tolist() for kept in choices[best]]
