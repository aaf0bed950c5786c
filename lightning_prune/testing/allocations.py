"""The contract of allocations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_prune.allocations import Allocation, Candidate, allocate
from lightning_prune.network.groups import Group
from lightning_prune.network.network import Network
from lightning_prune.structures import Weights
from lightning_prune.testing.network import check_repr

SHAPES = ((5, 7), (4, 6), (1, 11))  # 35, 24 and 11 units: no share of one layer is one of another


def check_allocation(allocation: Allocation) -> None:
    """Check an allocation on three layers whose units are single weights.

    Raises:
        AssertionError: Another number of units than the budget is kept, a floor is not respected,
            equal scores are not taken in order, the order of layers matters, a budget that is too
            small or a NaN is not refused, or a unit that is gone comes back.
    """
    check_repr(allocation)
    network = Network(nn.ModuleList(nn.Linear(*shape) for shape in SHAPES))
    groups = Weights().groups(network.layers, network.graph)
    total = sum(group.size for group in groups)
    # the last layer would lose everything to a threshold
    scores = [torch.rand(g.size) * s for g, s in zip(groups, (1, 1, 1e-3), strict=True)]
    _check_budgets(allocation, groups, scores)
    kept = _kept(allocation, groups, scores, total)
    assert not allocation.cuts or all(bool(flags.all()) for flags in kept), (
        "not everything is kept under a budget of everything"
    )
    equal = [torch.ones(group.size) for group in groups]
    some = total - total // 3 if allocation.cuts and not allocation.atomic else total
    for flags in _kept(allocation, groups, equal, some):
        assert torch.equal(flags, flags.sort(descending=True).values), "ties leave out of order"
    gone = [(torch.arange(group.size) % 2).float() for group in groups]
    for flags, held in zip(_kept(allocation, groups, scores, total, gone), gone, strict=True):
        assert not flags[held == 0].any(), "a unit that is gone came back"
    broken = [score.index_fill(0, torch.tensor([2]), torch.nan) for score in scores]
    assert _refuses(allocation, groups, broken, total), "scores that are NaN are not refused"


def _check_budgets(
    allocation: Allocation, groups: Sequence[Group], scores: Sequence[Tensor]
) -> None:
    total, cuts = sum(group.size for group in groups), allocation.cuts
    floors = [allocation.least_units(group) if cuts else 0 for group in groups]
    decided = int(torch.cat(_kept(allocation, groups, scores, total)).sum())
    least = sum(floors) if cuts else decided
    for budget in (total, *range(least, total, 9)):
        kept = _kept(allocation, groups, scores, budget)
        count = int(torch.cat(kept).sum())
        wanted = budget if cuts else decided
        assert count <= budget, f"{allocation!r} kept {count} units under a budget of {budget}"
        assert count == wanted or allocation.atomic, (
            f"{allocation!r} kept {count} units where a budget of {budget} allowed {wanted}"
        )
        for group, flags, floor in zip(groups, kept, floors, strict=True):
            assert flags.sum() >= floor, f"{group.name!r} keeps less than its floor of {floor}"
        again = _kept(allocation, groups[::-1], scores[::-1], budget)[::-1]
        assert all(map(torch.equal, kept, again)), "another order of layers, another selection"
    if least:
        assert _refuses(allocation, groups, scores, least - 1), (
            f"a budget of {least - 1} is not refused, and the smallest selection is {least}"
        )
        assert _refuses(allocation, groups, scores, 0), "a budget of 0 is not refused"


def _kept(
    allocation: Allocation,
    groups: Sequence[Group],
    scores: Sequence[Tensor],
    budget: int,
    gone: Sequence[Tensor | None] = (None,) * len(SHAPES),
) -> list[Tensor]:
    """By group, (n_units,) 1 where a unit stays."""
    candidates = [
        Candidate(group, Weights(), score, held)
        for group, score, held in zip(groups, scores, gone, strict=True)
    ]
    gains = allocate(allocation, candidates, budget, "params").gains
    return [(gains[group][1] != 0).float() for group in groups]


def _refuses(
    allocation: Allocation, groups: Sequence[Group], scores: Sequence[Tensor], budget: int
) -> bool:
    try:
        _kept(allocation, groups, scores, budget)
    except ValueError:
        return True
    return False
