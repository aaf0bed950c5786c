"""Steps: one order of the units of all variants, taken as far as each group's budget goes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_prune.allocations.base import Candidate, OverBudgetError
from lightning_prune.network.groups import Group
from lightning_prune.structures.base import Measure


@dataclass(frozen=True)
class Taken:
    """What was taken.

    Arguments:
        units: By place of the candidate that was chosen for its group, how many of its units.
        cost: Of all groups.
        cut: Key of the first unit that a group could not pay for; None: all were taken.
        floors: Names of the groups that keep units below the cut by their floor.
    """

    units: Mapping[int, int]
    cost: int
    cut: float | None
    floors: tuple[str, ...]


def take_steps(
    candidates: Sequence[Candidate],
    keys: Sequence[Tensor],
    floors: Sequence[int],
    budget: int,
    measure: Measure,
) -> Taken:
    r"""The longest prefix of the order that fits; then, group by group, what still fits.

    At a key t a candidate has the units above t, and a group is the cheapest of its candidates.
    Its cost never falls as t does, so the first t at which all groups together exceed the budget
    bounds the best there is: where keys are errors, the largest error is the smallest possible.
    The group that it fails for stops there, and the others go on, so that in the end no group's
    next step would fit. Of equally cheap candidates the one with the smaller key behind its last
    unit is taken.

    Arguments:
        candidates: Of counted structures; several of one group are variants.
        keys: (n_units,) each, larger stays; -inf never.
        floors: Units that each candidate keeps at least.
        budget: In the measure.
        measure: What the costs count.

    Raises:
        OverBudgetError: The floors alone cost more.
    """
    prices = [c.structure.costs(c.group, measure) for c in candidates]
    orders = [key.argsort(descending=True, stable=True) for key in keys]
    ordered = [key[o].double().cpu().numpy() for key, o in zip(keys, orders, strict=True)]
    counts = list(floors)
    members: dict[Group, list[int]] = defaultdict(list)
    for place, candidate in enumerate(candidates):
        members[candidate.group].append(place)
    costs = {g: min(prices[i][counts[i]] for i in places) for g, places in members.items()}
    total = sum(costs.values())
    if total > budget:
        raise OverBudgetError(total, budget)
    cut: float | None = None
    stopped: set[Group] = set()
    for place in _order(ordered, floors):
        group = candidates[place].group
        if group in stopped:
            continue
        counts[place] += 1
        cost = min(prices[i][counts[i]] for i in members[group])
        if total - costs[group] + cost > budget:
            counts[place] -= 1
            stopped.add(group)
            cut = float(ordered[place][counts[place]]) if cut is None else cut
            continue
        total += cost - costs[group]
        costs[group] = cost
    units = {}
    for places in members.values():
        best = min(places, key=lambda i: (prices[i][counts[i]], _behind(ordered[i], counts[i])))
        units[best] = _without_price(prices[best], ordered[best], counts[best])
    held = [
        candidates[i].group.name
        for i, count in units.items()
        if cut is not None and 0 < count <= floors[i] and ordered[i][count - 1] < cut
    ]
    return Taken(units, total, cut, tuple(held))


def best_units(key: Tensor, units: int) -> Tensor:
    """(n_units,) float, 1 for so many units with the largest keys; earlier ones win ties."""
    kept = torch.zeros(len(key), device=key.device)
    kept[key.argsort(descending=True, stable=True)[:units]] = 1.0
    return kept


def _order(ordered: Sequence[np.ndarray], floors: Sequence[int]) -> list[int]:
    """Places of candidates, one for every unit beyond its floor, the largest keys first."""
    rest = [keys[floor:] for keys, floor in zip(ordered, floors, strict=True)]
    joined = np.concatenate(rest) if rest else np.empty(0)
    owners = np.repeat(np.arange(len(rest)), [len(keys) for keys in rest])
    order = np.argsort(-joined, kind="stable")
    return owners[order[joined[order] > -math.inf]].tolist()


def _behind(keys: np.ndarray, count: int) -> float:
    return float(keys[count]) if count < len(keys) else -math.inf


def _without_price(prices: Sequence[int], keys: np.ndarray, count: int) -> int:
    """So many units, and those after them that cost nothing: a whole layer stays as it is."""
    while count < len(keys) and prices[count + 1] == prices[count] and keys[count] > -math.inf:
        count += 1
    return count
