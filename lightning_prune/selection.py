"""The selection: what stays of a network under a method and a budget, and its writing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from torch import Tensor, nn

from lightning_prune.allocations import (
    Candidate,
    OverBudgetError,
    Selection,
    Threshold,
    allocate,
)
from lightning_prune.criteria import Criterion, DataCriterion, Magnitude, Random, Regrowth
from lightning_prune.lowrank import remembered
from lightning_prune.methods import Method
from lightning_prune.network.groups import Group
from lightning_prune.network.network import Network
from lightning_prune.schedules import check_keep
from lightning_prune.structures import Measure, Structure, check_measure, full_cost


def select(
    network: Network,
    method: Method,
    keep: float,
    measure: Measure,
    gone: Mapping[str, Tensor] | None = None,
    progress: float = 0.0,
) -> Selection:
    """What stays of the network under `keep`; nothing is changed.

    Arguments:
        network: Layers and dense size.
        method: Criterion (already fed, if it needs data), structure and allocation.
        keep: Share of the dense network.
        measure: What `keep` counts.
        gone: By group, (n_units,) floats, 0 where an earlier event removed the unit.
        progress: Of the schedule, in [0, 1), for criteria that regrow.

    Raises:
        ValueError: See `prune`.
    """
    check_keep(keep)
    check_measure(measure, method.structure)
    measure = network.counted(measure)
    dense = network.dense(measure)
    if method.criterion.traced:
        network.graph()
    groups = method.structure.groups(network.layers, network.graph)
    lasting = method.structure.lasting and not method.criterion.regrows
    held = gone if gone is not None and lasting else {}
    rest = network.present(measure) - full_cost(method.structure, groups, measure)
    allowed = math.floor(keep * dense + 1e-6)
    try:
        if isinstance(method.criterion, Regrowth):
            active = _active(groups, gone or {})
            method.criterion.begin(progress, active)
            left = allocate(method.allocation, _standing(method, groups), allowed - rest, measure)
            kept = {g.name: gain for g, (_, gain) in left.gains.items()}
            method.criterion.begin(progress, {n: a * kept[n] for n, a in active.items()})
        candidates = candidates_of(method, groups, held)
        chosen = allocate(method.allocation, candidates, allowed - rest, measure)
    except OverBudgetError as over:
        least = math.ceil((over.least + rest) / dense * 1e4) / 1e4
        raise ValueError(
            f"keep={keep:g} is out of reach: {rest:,} of {dense:,} {measure} are not prunable by "
            f"this method, and with its floors the smallest reachable keep is {least:.4f}."
        ) from None
    return _rescaled(method.criterion, chosen)


def stand_in(method: Method) -> Method:
    """A method that says without data what the other one can reach.

    What is out of reach depends on structure and allocation; where a structure's costs go by the
    number of units, not on scores at all.
    """
    if method.structure.counted:
        return dataclasses.replace(method, criterion=Random(), allocation=Threshold())
    if isinstance(method.criterion, DataCriterion | Regrowth):
        return dataclasses.replace(method, criterion=Magnitude())
    return method


def restart(selection: Selection, method: Method) -> dict[nn.Parameter, Tensor]:
    """Set to zero what did not survive, before the selection is written; a part of it regrows.

    Returns:
        By parameter of its shape, 1 where a weight survived; empty if the criterion regrows none.
    """
    if not isinstance(method.criterion, Regrowth):
        return {}
    survived: dict[nn.Parameter, Tensor] = {}
    for group, (structure, _) in selection.gains.items():
        for layer in group.layers:
            flags = method.criterion.survivors(layer, structure)
            survived[layer.parameter] = flags.view(layer.weight.shape)
            structure.write(group, flags)
    return survived


def removes(selection: Selection) -> bool:
    """Whether any unit leaves, or left at an earlier event."""
    return not all(bool(gain.all()) for _, gain in selection.gains.values())


def write(selection: Selection) -> None:
    """Change the weights to what the selection says."""
    for group, (structure, gain) in selection.gains.items():
        structure.write(group, gain)


def _rescaled(criterion: Criterion, selection: Selection) -> Selection:
    """The selection with the gains that the criterion writes."""
    if type(criterion).rescaled is Criterion.rescaled:
        return selection
    gains = {
        group: (structure, criterion.rescaled(group, structure, gain) if group.layers else gain)
        for group, (structure, gain) in selection.gains.items()
    }
    return dataclasses.replace(selection, gains=gains, rescaled=True)


@remembered()
def candidates_of(
    method: Method, groups: list[Group], gone: Mapping[str, Tensor]
) -> list[Candidate]:
    """The groups with the scores of their units.

    Arguments:
        method: Its criterion is fed, if it needs data.
        groups: Of its structure.
        gone: By group, (n_units,) floats, 0 where an earlier event removed the unit for good.
    """
    criterion = method.criterion
    scored: dict[tuple[str, Structure], Tensor] = {}
    candidates = []
    for group in groups:
        for structure in criterion.variants(group, method.structure):
            held = gone.get(group.name)
            if structure.additive and len(group.layers) == 1:
                signed = criterion.signed_score(group.layers[0], structure)
                if signed is not None:
                    candidates.append(Candidate(group, structure, signed, held, signed=True))
                    continue
            together = criterion.group_score(group, structure)
            if together is not None:
                candidates.append(Candidate(group, structure, together, held))
                continue
            for layer in group.layers:
                if (layer.name, structure) not in scored:
                    scored[layer.name, structure] = criterion.score(layer, structure)
            scores = {layer.name: scored[layer.name, structure] for layer in group.layers}
            candidates.append(Candidate(group, structure, structure.combine(group, scores), held))
    return candidates


def _active(groups: list[Group], gone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By group of one layer, (n_units,) floats: what is held, or else what is not zero."""
    return {
        group.name: gone[group.name]
        if group.name in gone
        else (group.layers[0].weight.reshape(-1) != 0).float()
        for group in groups
    }


def _standing(method: Method, groups: list[Group]) -> list[Candidate]:
    """By magnitude, what is not active behind all that is."""
    assert isinstance(method.criterion, Regrowth)
    score, structure = method.criterion.standing, method.structure
    return [Candidate(g, structure, score(g.layers[0], structure)) for g in groups]
