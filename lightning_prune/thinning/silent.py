"""Silent filters: those that are zero and stay in a thinned network, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from lightning_prune.network.graph import Graph
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.thinning.dead import Dead


def silent(
    layers: Sequence[Layer],
    graph: Graph,
    removed: Mapping[Group, Tensor],
    dead: Dead,
    refused: Mapping[Group, str],
) -> dict[str, str]:
    """By layer that still has filters of nothing but zeros, why they stay.

    Arguments:
        layers: After the cut.
        graph: Of the model before.
        removed: What left.
        dead: What was found.
        refused: Groups that the forward does not follow.
    """
    pinned = graph.refused(layers)
    reasons: dict[str, str] = {}
    for group, why in refused.items():
        reasons |= {layer.name: why for layer in group.layers}
    for (group, _), why in dead.stays.items():
        for layer in group.layers:
            reasons.setdefault(layer.name, why)
    stays = {}
    for layer in layers:
        count = _zero_filters(layer)
        if layer.name in reasons:
            stays[layer.name] = reasons[layer.name]
        elif count and layer.name in pinned:
            stays[layer.name] = pinned[layer.name]
        elif count and not _spared(layer, removed):
            stays[layer.name] = _shared(layer, dead.gone)
    return stays


def _zero_filters(layer: Layer) -> int:
    rows = layer.weight.movedim(layer.out_dim, 0).flatten(1)
    return int((~(rows != 0).any(1)).sum())


def _spared(layer: Layer, removed: Mapping[Group, Tensor]) -> bool:
    """A group that was dead as a whole keeps one filter."""
    return any(
        int((~flags).sum()) == 1 and any(own.module is layer.module for own in group.layers)
        for group, flags in removed.items()
    )


def _shared(layer: Layer, gone: Mapping[Group, Tensor]) -> str:
    others = sorted(
        {
            other.name
            for group in gone
            for member in group.layers
            if member.module is layer.module
            for other in group.layers
            if other.module is not layer.module
        }
    )
    if not others:
        return "they are not zero in all that makes them"
    shown = ", ".join(others[:2]) + (", ..." if len(others) > 2 else "")
    return f"they are one unit with filters of {shown} that are not zero"
