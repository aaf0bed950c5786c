"""The contract of allocations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_prune.allocations import Allocation, Candidate, allocate
from lightning_prune.network.groups import Group
from lightning_prune.network.network import Network
from lightning_prune.structures import Structure, Weights
from lightning_prune.testing.network import check_repr

SHAPES = ((5, 7), (4, 6), (1, 13))  # 35, 24 and 13 units: no share of one layer is one of another
EVEN = ((12, 5), (24, 2), (12, 1))  # inputs that divide by 2, 3, 4, 6 and 12


def check_allocation(
    allocation: Allocation, structure: Structure | None = None, *, ordered: bool = True
) -> None:
    """Check an allocation on three layers whose units are single weights.

    Arguments:
        allocation: The allocation.
        structure: The structure it is for, with a unit for every weight; None: weights. Its
            layers have 12, 24 and 12 inputs.
        ordered: Equal scores of a layer are taken in order; False where parts of a layer, such as
            its rows, are compared each by itself, or units are drawn.

    Raises:
        AssertionError: Another number of units than the budget is kept, a floor is not respected,
            equal scores are not taken in order, the order of layers matters, a budget that is too
            small or a NaN is not refused, or a unit that is gone comes back.
        ValueError: The allocation is not defined for weights.
    """
    check_repr(allocation)
    if structure is None and not issubclass(Weights, allocation.needs):
        raise ValueError(f"{allocation!r} needs a {allocation.needs.__name__}: give structure=...")
    subject = _Subject(allocation, structure or Weights())
    shapes = SHAPES if structure is None else EVEN
    network = Network(nn.ModuleList(nn.Linear(*shape) for shape in shapes))
    groups = subject.structure.groups(network.layers, network.graph)
    total = sum(group.size for group in groups)
    # the last layer would lose everything to a threshold
    scores = [torch.rand(g.size) * s for g, s in zip(groups, (1, 1, 1e-3), strict=True)]
    _check_budgets(subject, groups, scores)
    kept = _kept(subject, groups, scores, total)
    assert not allocation.cuts or all(bool(flags.all()) for flags in kept), (
        "not everything is kept under a budget of everything"
    )
    if ordered and (
        allocation.cuts or not allocation.atomic
    ):  # else the places of units decide, not an order
        equal = [torch.ones(group.size) for group in groups]
        some = total - total // 3 if allocation.cuts and not allocation.atomic else total
        for flags in _kept(subject, groups, equal, some):
            assert torch.equal(flags, flags.sort(descending=True).values), "ties leave out of order"
    gone = [(torch.arange(group.size) % 2).float() for group in groups]
    for flags, held in zip(_kept(subject, groups, scores, total, gone), gone, strict=True):
        assert not flags[held == 0].any(), "a unit that is gone came back"
    broken = [score.index_fill(0, torch.tensor([2]), torch.nan) for score in scores]
    assert _refuses(subject, groups, broken, total), "scores that are NaN are not refused"


class _Subject(NamedTuple):
    allocation: Allocation
    structure: Structure


def _check_budgets(subject: _Subject, groups: Sequence[Group], scores: Sequence[Tensor]) -> None:
    allocation, _ = subject
    total, cuts = sum(group.size for group in groups), allocation.cuts
    floors = [allocation.least_units(group) if cuts else 0 for group in groups]
    decided = int(torch.cat(_kept(subject, groups, scores, total)).sum())
    least = sum(floors) if cuts else decided
    for budget in (total, *range(least, total, 9)):
        kept = _kept(subject, groups, scores, budget)
        count = int(torch.cat(kept).sum())
        wanted = budget if cuts else decided
        assert count <= budget, f"{allocation!r} kept {count} units under a budget of {budget}"
        assert count == wanted or allocation.atomic, (
            f"{allocation!r} kept {count} units where a budget of {budget} allowed {wanted}"
        )
        for group, flags, floor in zip(groups, kept, floors, strict=True):
            assert flags.sum() >= floor, f"{group.name!r} keeps less than its floor of {floor}"
        again = _kept(subject, groups[::-1], scores[::-1], budget)[::-1]
        assert all(map(torch.equal, kept, again)), "another order of layers, another selection"
    if least:
        assert _refuses(subject, groups, scores, least - 1), (
            f"a budget of {least - 1} is not refused, and the smallest selection is {least}"
        )
        assert _refuses(subject, groups, scores, 0), "a budget of 0 is not refused"


def _kept(
    subject: _Subject,
    groups: Sequence[Group],
    scores: Sequence[Tensor],
    budget: int,
    gone: Sequence[Tensor | None] = (None,) * len(SHAPES),
) -> list[Tensor]:
    """By group, (n_units,) 1 where a unit stays."""
    candidates = [
        Candidate(group, subject.structure, score, held)
        for group, score, held in zip(groups, scores, gone, strict=True)
    ]
    gains = allocate(subject.allocation, candidates, budget, "params").gains
    return [(gains[group][1] != 0).float() for group in groups]


def _refuses(
    subject: _Subject, groups: Sequence[Group], scores: Sequence[Tensor], budget: int
) -> bool:
    try:
        _kept(subject, groups, scores, budget)
    except ValueError:
        return True
    return False
