"""Pruning without a Trainer: layers, groups, scores, one cut, written weights, a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from lightning_prune.account import report
from lightning_prune.allocations import Candidate, OverBudgetError, Selection, allocate
from lightning_prune.criteria import ActivationCriterion, DataCriterion, Regrowth
from lightning_prune.methods import Method, find_method
from lightning_prune.network.batches import (
    batch_size,
    draw_batches,
    example_batch,
    move,
    network_input,
)
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import LayerFilter
from lightning_prune.network.network import Network
from lightning_prune.network.untouched import untouched
from lightning_prune.network.watch import watch_gradients, watch_inputs
from lightning_prune.report import PruneReport
from lightning_prune.schedules import check_keep
from lightning_prune.structures import Measure, Structure, full_cost

Loss = Callable[[nn.Module, Any], Tensor]


def prune(  # noqa: PLR0913
    model: nn.Module,
    method: str | Method,
    keep: float,
    *,
    measure: Measure = "params",
    layers: LayerFilter | None = None,
    example: Any = None,
    loader: Iterable[Any] | None = None,
    loss: Loss | None = None,
    batches: int = 8,
) -> PruneReport:
    """Prune a model in place, once: afterwards its zeros are zeros in its weights.

    Nothing holds the zeros in later training; `Pruning` does.

    Arguments:
        model: Any module.
        method: A name of the table of methods, or a `Method`.
        keep: Share of the dense network that stays, in (0, 1], in the measure.
        measure: `params`, or `macs` (multiply-adds of one sample's forward).
        layers: Which layers are prunable; None: every linear and convolutional weight.
        example: A batch of network inputs, for structures and measures that trace a forward.
        loader: Batches for data-informed criteria, and for the example if none is given.
        loss: (model, batch) -> scalar, for criteria that need gradients.
        batches: Batches that a data-informed criterion sees.

    Returns:
        What was kept, per layer and in all.

    Raises:
        ValueError: `keep` is out of range or out of reach (the smallest reachable one is named),
            the method is unknown, no layer matches, or weights or scores are NaN.
    """
    found = find_method(method)
    if found is None:
        raise ValueError("The method 'none' prunes nothing; it is the control of a Trainer run.")
    if example is None and loader is not None:
        example = network_input(example_batch(loader))
    forward = None if example is None else lambda: _call(model, example)
    network = Network(model, layers, forward, batch_size(example))
    if isinstance(found.criterion, DataCriterion):
        if loader is None:
            raise ValueError(f"{type(found.criterion).__name__} needs data: give loader=...")
        run = _runner(model, found.criterion, loss)
        watch(network, found.criterion, draw_batches(loader, batches), run)
    started = time.perf_counter()
    selection = select(network, found, keep, measure)
    restart(selection, found)
    write(selection)
    return report(network, found, keep, measure, selection, started)


def watch(
    network: Network, criterion: DataCriterion, batches: Iterable[Any], run: Callable
) -> None:
    """Let a criterion observe the network at work, and leave no trace in the network.

    Arguments:
        network: The network.
        criterion: Is reset first.
        batches: Of its data.
        run: (batch, index) -> the loss, or anything for criteria that see activations only.
    """
    criterion.reset()
    with untouched(network.model, criterion.mode):
        if isinstance(criterion, ActivationCriterion):
            watch_inputs(network.layers, criterion.observe, batches, run)
        else:
            watch_gradients(network.layers, criterion.observe, batches, run)


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
    if measure not in ("params", "macs"):
        raise ValueError(f"The measure is 'params' or 'macs', not {measure!r}.")
    dense = network.dense(measure)
    groups = method.structure.groups(network.layers, network.graph)
    lasting = method.structure.lasting and not method.criterion.regrows
    held = gone if gone is not None and lasting else {}
    rest = dense - full_cost(method.structure, groups, measure)
    allowed = math.floor(keep * dense + 1e-6)
    try:
        if isinstance(method.criterion, Regrowth):
            active = _active(groups, gone or {})
            method.criterion.begin(progress, active)
            left = allocate(method.allocation, _standing(method, groups), allowed - rest, measure)
            kept = {g.name: gain for g, (_, gain) in left.gains.items()}
            method.criterion.begin(progress, {n: a * kept[n] for n, a in active.items()})
        candidates = _candidates(method, groups, held)
        return allocate(method.allocation, candidates, allowed - rest, measure)
    except OverBudgetError as over:
        least = math.ceil((over.least + rest) / dense * 1e4) / 1e4
        raise ValueError(
            f"keep={keep:g} is out of reach: {rest:,} of {dense:,} {measure} are not prunable by "
            f"this method, and with its floors the smallest reachable keep is {least:.4f}."
        ) from None


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


def write(selection: Selection) -> None:
    """Change the weights to what the selection says."""
    for group, (structure, gain) in selection.gains.items():
        structure.write(group, gain)


def _candidates(method: Method, groups: list[Group], gone: Mapping[str, Tensor]) -> list[Candidate]:
    criterion = method.criterion
    scored: dict[tuple[str, Structure], Tensor] = {}
    candidates = []
    for group in groups:
        for structure in method.structure.variants(group):
            held = gone.get(group.name)
            if structure.additive and len(group.layers) == 1:
                signed = criterion.signed_score(group.layers[0], structure)
                if signed is not None:
                    candidates.append(Candidate(group, structure, signed, held, signed=True))
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


def _call(model: nn.Module, example: Any) -> Any:
    device = next(model.parameters()).device
    value = move(example, device)
    if isinstance(value, dict):
        return model(**value)
    return model(*value) if isinstance(value, tuple) else model(value)


def _runner(model: nn.Module, criterion: DataCriterion, loss: Loss | None) -> Callable:
    device = next(model.parameters()).device
    if loss is not None:
        return lambda batch, _: loss(model, move(batch, device))
    if isinstance(criterion, ActivationCriterion):
        return lambda batch, _: _call(model, network_input(batch))
    raise ValueError(
        f"{type(criterion).__name__} needs gradients: give loss=(model, batch) -> loss."
    )
