"""The one routine that finds the cut: floors first, then the longest prefix that fits."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate, OverBudgetError, Selection
from lightning_prune.allocations.chosen import Chosen, cheapest, selected
from lightning_prune.allocations.cut import Cut, empty_like_all, exact_cut, keep_units
from lightning_prune.allocations.rounded import ordered, rounded_up
from lightning_prune.allocations.steps import best_units, take_steps
from lightning_prune.structures.base import Measure


def allocate(
    allocation: Allocation, candidates: Sequence[Candidate], budget: int, measure: Measure
) -> Selection:
    """The largest selection of the allocation's order whose cost is within `budget`.

    Units of equal keys are taken in the order of groups and indices, unless the allocation is
    atomic. Every group keeps its floor.

    Arguments:
        allocation: Gives every unit its key.
        candidates: Several of one group are variants; the cheapest at the cut is taken.
        budget: In the measure, for the tensors that the candidates' groups touch.
        measure: What the budget counts.

    Raises:
        OverBudgetError: The floors alone, or an allocation without a cut, cost more.
        ValueError: A score is NaN.
    """
    for candidate in candidates:
        if candidate.group.size and math.isnan(candidate.values.amax()):
            raise ValueError(
                f"The scores of {candidate.group.name!r} are not numbers: its weights, or the "
                "data that were watched, hold NaN; nothing was pruned."
            )
    if not allocation.cuts:
        return _by_keys(allocation, candidates, budget, measure)
    if all(candidate.structure.counted for candidate in candidates):
        keys = _keys(allocation, candidates)
        return _by_steps(allocation, candidates, keys, budget, measure)
    alone = len({candidate.group for candidate in candidates}) == len(candidates)
    additive = all(candidate.structure.additive for candidate in candidates)
    if not (additive and alone and not allocation.atomic):
        return _by_prefix(allocation, candidates, _keys(allocation, candidates), budget, measure)
    if allocation.by_score and _plain_magnitudes(candidates):
        signed = [candidate.values for candidate in candidates]
        found = _by_price(allocation, candidates, signed, budget, measure, absolute=True)
        # at a cut of 0, and where a floor binds, what is gone has to be told from what is small
        if found is not None and (found.cut or 0) > 0:
            return found
    keys = _keys(allocation, candidates)
    found = _by_price(allocation, candidates, keys, budget, measure)
    assert found is not None
    return found


def _keys(allocation: Allocation, candidates: Sequence[Candidate]) -> list[Tensor]:
    """The allocation's keys in one dtype, -inf for what is gone; +inf is left to the floors."""
    keys = allocation.keys(candidates)
    dtype = functools.reduce(torch.promote_types, (key.dtype for key in keys), torch.float32)
    finite = [key.to(dtype).clamp_max(torch.finfo(dtype).max) for key in keys]
    if any(key.numel() and math.isnan(key.amax()) for key in finite):
        raise ValueError(f"{allocation!r} made keys that are not numbers; nothing was pruned.")
    return [
        key if candidate.gone is None else key.masked_fill(candidate.gone == 0, -torch.inf)
        for key, candidate in zip(finite, candidates, strict=True)
    ]


def _plain_magnitudes(candidates: Sequence[Candidate]) -> bool:
    dtypes = {candidate.values.dtype for candidate in candidates}
    signed = all(candidate.signed for candidate in candidates)
    return signed and dtypes in ({torch.float32}, {torch.float64})


def _by_price(
    allocation: Allocation,
    candidates: Sequence[Candidate],
    keys: list[Tensor],
    budget: int,
    measure: Measure,
    absolute: bool = False,
) -> Selection | None:
    """Every unit has a price: one exact cut, repeated only where a floor binds.

    With `absolute` the keys are absolute values, and None is returned where a floor binds.
    """
    prices = [c.structure.price(c.group, measure) for c in candidates]
    floors = [_reachable_floor(allocation, c, k) for c, k in zip(candidates, keys, strict=True)]
    least = sum(price * floor for price, floor in zip(prices, floors, strict=True))
    if least > budget:
        raise OverBudgetError(least, budget)
    priced = [i for i, price in enumerate(prices) if price > 0]  # what costs nothing stays
    kept, counts = empty_like_all(keys), [0] * len(keys)
    for i in set(range(len(keys))) - set(priced):
        counts[i], _ = keep_units(keys[i], 1, Cut(-math.inf, 0), kept[i])
    raised: set[int] = set()
    while True:
        charged = [keys[i] for i in priced], [prices[i] for i in priced]
        first = cut = exact_cut(*charged, budget, absolute) if priced else Cut(-math.inf, 0)
        for i in priced:
            counts[i], cut = keep_units(keys[i], prices[i], cut, kept[i], absolute)
        short = [i for i in priced if counts[i] < floors[i]]
        if not short:
            break
        if absolute:
            return None
        for i in short:
            keys[i] = _raised(keys[i], floors[i])
        raised |= set(short)
    gains = {
        c.group: (c.structure, allocation.gains(c, k))
        for c, k in zip(candidates, kept, strict=True)
    }
    cost = sum(price * count for price, count in zip(prices, counts, strict=True))
    floored = tuple(candidates[i].group.name for i in sorted(raised))
    return selected(allocation, gains, cost, first.threshold, floored)


def _by_keys(
    allocation: Allocation, candidates: Sequence[Candidate], budget: int, measure: Measure
) -> Selection:
    """The keys decide alone: nothing is ordered, and the budget can only refuse."""
    kept = [(key > -torch.inf).float() for key in _keys(allocation, candidates)]
    gains, cost = cheapest(allocation, candidates, kept, measure)
    if cost > budget:
        raise OverBudgetError(cost, budget)
    return selected(allocation, gains, cost)


def _by_prefix(
    allocation: Allocation,
    candidates: Sequence[Candidate],
    keys: list[Tensor],
    budget: int,
    measure: Measure,
) -> Selection:
    """Costs that are no sum: the longest prefix of the order, found by bisection.

    The cost never falls when a unit is added, so the prefixes that fit are the short ones.
    """
    floors = [
        rounded_up(_reachable_floor(allocation, c, k), c.structure.round_to, _there(k))
        for c, k in zip(candidates, keys, strict=True)
    ]
    lifted = [_raised(key, floor) for key, floor in zip(keys, floors, strict=True)]
    order = ordered(candidates, lifted, sum(floors))

    def chosen(length: int) -> tuple[Chosen, int]:
        kept = [(ranks < length).float() for ranks in order.ranks]
        return cheapest(allocation, candidates, kept, measure)

    stops = order.stops
    eligible = int(stops[-1])
    if allocation.atomic:
        inner = stops[(stops > 0) & (stops < eligible)]
        split = (order.keys[inner - 1] == order.keys[inner]).cpu()
        stops = stops[~torch.isin(stops, inner[split])]
    low, high = 0, len(stops) - 1
    if (least := chosen(int(stops[0]))[1]) > budget:
        raise OverBudgetError(least, budget)
    while low < high:
        middle = (low + high + 1) // 2
        if chosen(int(stops[middle]))[1] <= budget:
            low = middle
        else:
            high = middle - 1
    length = int(stops[low])
    gains, cost = chosen(length)
    cut = float(order.keys[length]) if length < eligible else None
    bound = tuple(
        candidate.group.name
        for candidate, key, ranks, floor in zip(candidates, keys, order.ranks, floors, strict=True)
        if cut is not None
        and int((ranks < length).sum()) == floor
        and int(((ranks < length) & (key < cut)).sum())
    )
    return selected(allocation, gains, cost, cut, bound)


def _by_steps(
    allocation: Allocation,
    candidates: Sequence[Candidate],
    keys: list[Tensor],
    budget: int,
    measure: Measure,
) -> Selection:
    """Every group has a cost by number of units: exact, and what is left over is spent."""
    floors = [_reachable_floor(allocation, c, k) for c, k in zip(candidates, keys, strict=True)]
    taken = take_steps(candidates, keys, floors, budget, measure)
    gains = {
        candidates[i].group: (
            candidates[i].structure,
            allocation.gains(candidates[i], best_units(keys[i], units)),
        )
        for i, units in taken.units.items()
    }
    return selected(allocation, gains, taken.cost, taken.cut, taken.floors)


def _reachable_floor(allocation: Allocation, candidate: Candidate, key: Tensor) -> int:
    """The floor of a candidate, at most what is not gone."""
    floor = min(allocation.least_units(candidate.group), len(key))
    if candidate.gone is None:
        return floor
    return min(floor, _there(key))


def _there(key: Tensor) -> int:
    return int((key > -torch.inf).count_nonzero())


def _raised(key: Tensor, units: int) -> Tensor:
    """The same keys, the best `units` of them first in every order; earlier units win ties."""
    if units == 0:
        return key
    raised = key.clone()
    best = key.argmax() if units == 1 else key.argsort(descending=True, stable=True)[:units]
    raised[best] = torch.inf
    return raised
