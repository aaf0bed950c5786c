"""The account: what an event left of a network, counted from the weights and the selection."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lightning_prune.allocations import Selection
from lightning_prune.bounds import Bounds
from lightning_prune.lowrank import factors_of, folding_of
from lightning_prune.methods import Method, method_name
from lightning_prune.network.counting import count_nonzero
from lightning_prune.network.groups import Group
from lightning_prune.network.latency import LatencyTables
from lightning_prune.network.layers import Layer
from lightning_prune.network.network import Network
from lightning_prune.report import LayerReport, PruneReport
from lightning_prune.structures import Measure, Structure, full_cost, measure_name

TOLD_APART = 3  # layers of one reason that are named in notes of their own


def report(  # noqa: PLR0913
    network: Network,
    method: Method,
    keep: float,
    measure: Measure,
    selection: Selection,
    started: float,
    bounds: Bounds | None = None,
    notes: Sequence[str] = (),
) -> PruneReport:
    """The report of a selection that was written; `started` is a `time.perf_counter`."""
    groups = [group for group in selection.gains if group.layers]
    measure = network.counted(measure)
    dense = network.dense(measure)
    present = network.present(measure)
    left = present - full_cost(method.structure, groups, measure) + selection.cost
    seconds = time.perf_counter() - started
    graph = network.traced()
    nonzeros = network.nonzeros()
    told: list[str] = []
    if selection.floors:
        told.append(
            "floors against layer collapse kept units that the cut would have removed in "
            + ", ".join(selection.floors)
        )
    if method.allocation.expected:
        told.append(
            "units were drawn with replacement: what is left is what was expected, and the "
            "non-zeros are what was drawn"
        )
    if graph is None:
        told.append(f"multiply-adds are not known: {network.untraceable}")
    if isinstance(measure, LatencyTables):
        told.append(_foretold(measure, left))
    pruned = {layer.name for group in groups for layer in group.layers}
    told += _told(method.structure.refused(network.layers, network.graph), pruned)
    if bounds is not None and bounds.layers:
        told.append(bounds.note())
    return PruneReport(
        method=method_name(method),
        measure=measure_name(measure),
        keep_target=keep,
        keep=left / dense,
        dense=dense,
        left=left,
        budget=math.floor(keep * dense + 1e-6),
        params=network.origin.params if network.origin else network.params,
        nonzero=sum(nonzeros.values()),
        macs=network.dense("macs") if graph else None,
        macs_effective=network.effective_macs(nonzeros),
        cut=selection.cut if selection.cut is None or math.isfinite(selection.cut) else None,
        seconds=seconds,
        layers=layer_reports(network, method.structure, selection.gains, nonzeros, bounds),
        notes=(*told, *notes),
        bound=bounds.bound if bounds and bounds.layers else None,
        error=bounds.error if bounds and bounds.layers else None,
        held_out=bounds.held_out if bounds and bounds.layers else None,
    )


def layer_reports(
    network: Network,
    structure: Structure,
    gains: Mapping[Group, tuple[Structure, Tensor]],
    nonzeros: Mapping[nn.Parameter, int],
    bounds: Bounds | None = None,
) -> tuple[LayerReport, ...]:
    """One row for every prunable layer."""
    graph = network.traced()
    rows = []
    for layer in network.layers:
        weight = layer.weight
        positions = layer.positions if graph else None
        bound = bounds.layers.get(layer.name) if bounds else None
        folding, effective = folding_of(layer.module), None
        if folding is not None:
            encoder, decoder = factors_of(layer.module)
            nonzero = nonzeros[encoder] + nonzeros[decoder]
            rank = decoder.shape[1] // folding.slices
            if positions is not None:
                effective = folding.macs(rank, positions, layer.maps)
        else:
            counted = nonzeros.get(layer.parameter)
            # a structure may compute the weight from other parameters
            nonzero = count_nonzero(weight) if counted is None else counted
            effective = None if positions is None else positions * nonzero
        units = _units(layer, structure, gains)
        lost = sum(_lost(layer, group, *chosen) for group, chosen in gains.items())
        size: dict[str, Any] = {
            "units": units,
            "params": weight.numel(),
            "macs": None if positions is None else positions * weight.numel(),
        }
        if network.origin is not None:
            size |= network.origin.layers[layer.name]
        rows.append(
            LayerReport(
                name=layer.name,
                kept=units - lost,
                nonzero=nonzero,
                **size,
                macs_effective=effective,
                slices=folding.slices if folding else None,
                scheme=folding.scheme if folding else None,
                **(dataclasses.asdict(bound) if bound else {}),
            )
        )
    return tuple(rows)


def _foretold(tables: LatencyTables, left: int) -> str:
    """What the tables say of the network that is left, and when it holds."""
    where = f"{tables.device}, batch {tables.batch}, threads {tables.threads}"
    return (
        f"{left / 1e6:.3g} of {tables.dense / 1e6:.3g} ms a forward are predicted ({where}), "
        f"{tables.rest / 1e6:.3g} of them outside of all measured layers; that is the latency of "
        "the thin network, the masked one takes as long as before"
    )


def _told(refused: Mapping[str, str], pruned: Collection[str]) -> list[str]:
    """Why layers keep their units; many with one reason are told together."""
    alike: dict[tuple[str, bool], list[str]] = {}
    for name, why in refused.items():
        alike.setdefault((why, name in pruned), []).append(name)
    told = []
    for name, why in refused.items():
        names, units = alike[why, name in pruned], "some of " if name in pruned else ""
        if len(names) <= TOLD_APART:
            told.append(f"{name} keeps {units}its units: {why}")
        elif name == names[0]:
            shown = ", ".join(names[:TOLD_APART])
            told.append(f"{len(names)} layers ({shown}, ...) keep {units}their units: {why}")
    return told


def _units(
    layer: Layer, structure: Structure, gains: Mapping[Group, tuple[Structure, Tensor]]
) -> int:
    """Units that the layer was split into."""
    if not structure.changes_parameters:
        return len(structure.units(layer, layer.weight))
    alone = (gain for group, (_, gain) in gains.items() if group.layers[0].name == layer.name)
    return len(next(alone, ()))


def _lost(layer: Layer, group: Group, structure: Structure, gain: Tensor) -> int:
    """Units of the layer that the group gave up."""
    if all(layer.name != member.name for member in group.layers):
        return 0
    for part in group.slices:
        if part.name == layer.name and part.tensor == layer.tensor:
            if part.units is None or part.dim is None:
                return len(gain) - int(gain.count_nonzero())
            if part.dim == structure.axis(layer):
                owned = part.units[part.units >= 0].to(gain.device)
                return int((gain[owned] == 0).sum())
    return len(gain) - int(gain.count_nonzero())
