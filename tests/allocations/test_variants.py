"""Several ways to prune one group: at every cut the cheapest is taken."""

from dataclasses import dataclass

import torch
from hypothesis import given, settings, strategies as st
from reference import OneByOne, every_prefix, group

from lightning_prune.allocations import Candidate, Threshold, allocate


@dataclass(frozen=True)
class Fee(OneByOne):
    """Costs a fee for every group, and a price for every unit of it."""

    fee: int = 0
    each: int = 1

    def cost(self, gains, measure):
        return sum(self.fee + self.each * int(gain.count_nonzero()) for gain in gains.values())


DEAR_START, DEAR_UNITS = Fee(fee=5, each=1), Fee(fee=0, each=3)


def chosen(scores, budget):
    """Every group in both variants, whose scores differ; groups in the order of `scores`."""
    groups = [group(f"layer{i}", len(one)) for i, (one, _) in enumerate(scores)]
    candidates = [
        Candidate(g, structure, torch.tensor(score, dtype=torch.float32))
        for g, pair in zip(groups, scores, strict=True)
        for structure, score in zip((DEAR_START, DEAR_UNITS), pair, strict=True)
    ]
    selection = allocate(Threshold(floor=0), candidates, budget, "params")
    return selection, [selection.gains[g] for g in groups]


def test_many_units_take_the_variant_with_the_cheap_unit_and_few_the_one_without_a_fee():
    few, many = [0.1, 0.2, 9.0, 0.3], [5.0, 6.0, 7.0, 8.0]
    selection, (first, second) = chosen([(few, few), (many, many)], 12)
    assert (first[0], first[1].tolist()) == (DEAR_UNITS, [0, 0, 1, 0])
    assert (second[0], second[1].tolist()) == (DEAR_START, [1, 1, 1, 1])
    assert selection.cost == 3 + 9


PAIR = st.integers(1, 4).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 9), min_size=n, max_size=n)] * 2)
)


@settings(max_examples=100, deadline=None)
@given(scores=st.lists(PAIR, min_size=1, max_size=3), share=st.floats(0, 1))
def test_against_every_prefix(scores, share):
    costs = []
    for kept in every_prefix([one for pair in scores for one in pair]):
        counts = [int(sum(flags)) for flags in kept]
        offers = [(5 + a, 3 * b) for a, b in zip(counts[::2], counts[1::2], strict=True)]
        costs.append(sum(map(min, offers)))
    budget = int(share * costs[-1])
    selection, _ = chosen(scores, budget)
    assert selection.cost == max(cost for cost in costs if cost <= budget)
    assert selection.cost == sum(
        structure.cost({g: gain}, "params") for g, (structure, gain) in selection.gains.items()
    )
