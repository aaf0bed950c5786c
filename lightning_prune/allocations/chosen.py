"""What was chosen: one candidate a group, what all of them cost, and what goes along."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate, Selection
from lightning_prune.network.groups import Group
from lightning_prune.structures.base import Measure, Structure

Chosen = dict[Group, tuple[Structure, Tensor]]


def cheapest(
    allocation: Allocation,
    candidates: Sequence[Candidate],
    kept: list[Tensor],
    measure: Measure,
) -> tuple[Chosen, int]:
    """One candidate a group, and what the whole selection costs."""
    offers: dict[Group, list[tuple[Structure, Tensor]]] = defaultdict(list)
    for candidate, flags in zip(candidates, kept, strict=True):
        offers[candidate.group].append((candidate.structure, allocation.gains(candidate, flags)))
    gains = {
        group: min(several, key=lambda offer: offer[0].cost({group: offer[1]}, measure))
        if len(several) > 1
        else several[0]
        for group, several in offers.items()
    }
    return gains, selection_cost(gains, measure)


def selection_cost(gains: Chosen, measure: Measure) -> int:
    """What is left of all tensors that the groups touch, each structure counting its own."""
    return sum(s.cost(part, measure) for s, part in by_structure(gains).items())


def by_structure(gains: Chosen) -> dict[Structure, dict[Group, Tensor]]:
    """The gains of the groups that are written in one way, together."""
    parts: dict[Structure, dict[Group, Tensor]] = defaultdict(dict)
    for group, (structure, gain) in gains.items():
        parts[structure][group] = gain
    return parts


def selected(
    allocation: Allocation,
    gains: Chosen,
    cost: int,
    cut: float | None = None,
    floors: tuple[str, ...] = (),
) -> Selection:
    """With what each structure lets go along."""
    settled: Chosen = {}
    for structure, part in by_structure(gains).items():
        settled |= {group: (structure, gain) for group, gain in structure.settle(part).items()}
    followed = settled.keys() != gains.keys()
    chosen = {group: gain for group, (_, gain) in gains.items()} if followed else {}
    rescaled = type(allocation).gains is not Allocation.gains
    return Selection(settled, cost, cut, floors, rescaled, chosen)
