"""Pruning without a Trainer: layers, groups, scores, one cut, written weights, a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from lightning_prune.account import report
from lightning_prune.allocations import Selection
from lightning_prune.bounds import foresee, measure_bounds, measure_errors
from lightning_prune.criteria import (
    ActivationCriterion,
    DataCriterion,
    GradientCriterion,
    SyntheticCriterion,
)
from lightning_prune.fold import fold_constants
from lightning_prune.lowrank import remembered
from lightning_prune.methods import Method, find_method
from lightning_prune.network.batches import (
    batch_size,
    call,
    draw_batches,
    example_batch,
    move,
    network_input,
)
from lightning_prune.network.layers import LayerFilter
from lightning_prune.network.network import Network
from lightning_prune.network.samples import Amount, check_amount, numbered
from lightning_prune.network.statistics import norms_with_statistics, renew_statistics
from lightning_prune.network.stopwatch import measure_latencies
from lightning_prune.network.untouched import untouched
from lightning_prune.network.watch import check_readable, watch_gradients, watch_inputs
from lightning_prune.report import PruneReport
from lightning_prune.selection import removes, restart, select, write
from lightning_prune.structures import Measure, check_measure

Loss = Callable[[nn.Module, Any], Tensor]


@remembered()
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
    batches: Amount = 8,
    recalibrate: bool | None = None,
) -> PruneReport:
    """Prune a model in place, once: afterwards its zeros are zeros in its weights.

    Nothing holds the zeros in later training; `Pruning` does.

    Arguments:
        model: Any module.
        method: A name of the table of methods, or a `Method`.
        keep: Share of the dense network that stays, in (0, 1], in the measure.
        measure: `params`; `macs` (multiply-adds of one sample's forward); or, of methods that
            remove filters or channels, `latency` (of one sample's forward, measured here and
            now) or `LatencyTables` that were measured before.
        layers: Which layers are prunable; None: every linear and convolutional weight.
        example: A batch of network inputs, for structures and measures that trace a forward.
        loader: Batches for data-informed criteria, and for the example if none is given.
        loss: (model, batch) -> scalar, for criteria that need gradients.
        batches: Batches that a data-informed criterion sees, or `Samples`.
        recalibrate: Estimate the running statistics of norms anew on as many batches of the
            loader; None: if whole filters or channels leave, and there is a loader.

    Returns:
        What was kept, per layer and in all.

    Raises:
        ValueError: `keep` is out of range or out of reach (the smallest reachable one is named),
            the method is unknown, no layer matches, data or a loss are missing, or weights or
            scores are NaN.
    """
    found = find_method(method)
    if found is None:
        raise ValueError("The method 'none' prunes nothing; it is the control of a Trainer run.")
    if example is None and loader is not None:
        example = network_input(example_batch(loader))
    forward = None if example is None else lambda: call(model, example)
    network = Network(model, layers, forward, batch_size(example))
    check_measure(measure, found.structure)
    if measure == "latency" and example is not None:
        network.latency = measure_latencies(model, example)
    check_amount(batches)
    if recalibrate and loader is None:
        raise ValueError("To estimate the statistics of norms anew takes data: give loader=...")

    def draw(held_out: bool = False) -> Iterable[Any]:
        return draw_batches(loader, numbered(batches, network), held_out=held_out)

    for layer in network.layers:
        found.structure.restore(layer)
    if isinstance(found.criterion, DataCriterion):
        _feed(network, found.criterion, example, None if loader is None else draw(), loss)
    started = time.perf_counter()
    look = _runner(model, None, loss)
    selection = select(network, found, keep, measure)
    bounds = measure_bounds(network, found, selection, {}, draw, look)
    notes = [] if forward is None else fold_constants(network, selection, forward)
    restart(selection, found)
    if found.structure.changes_parameters:
        network.traced()  # later its layers would be others
    foreseen = foresee(selection)
    write(selection)
    bounds = measure_errors(foreseen) or bounds
    if recalibrates(found, recalibrate, selection) and norms_with_statistics(model):
        notes += _renewed(model, None if loader is None else draw(), look)
    return report(network, found, keep, measure, selection, started, bounds, notes)


def _feed(
    network: Network,
    criterion: DataCriterion,
    example: Any,
    batches: Iterable[Any] | None,
    loss: Loss | None,
) -> None:
    """Show a criterion the example, or the batches."""
    name, model = type(criterion).__name__, network.model
    if isinstance(criterion, SyntheticCriterion):
        if example is None:
            raise ValueError(f"{name} needs the shapes of an input: give example=...")
        watch(network, criterion, [example], lambda batch, _: call(model, batch))
        return
    if batches is None:
        raise ValueError(f"{name} needs data: give loader=...")
    watch(network, criterion, batches, _runner(model, criterion, loss))


def _renewed(model: nn.Module, batches: Iterable[Any] | None, run: Callable) -> list[str]:
    """Statistics of norms anew, if there are batches; what is to be said of it."""
    if batches is None:
        return [
            "the running statistics of norms are those of the dense network; with loader=... they "
            "are estimated anew"
        ]
    if not renew_statistics(model, batches, run):
        return [
            "the running statistics of norms are those of the dense network: the loader was read "
            "to its end, and a list or a DataLoader can be read again"
        ]
    return []


def recalibrates(method: Method, asked: bool | None, selection: Selection) -> bool:
    """Whether statistics of norms are estimated anew behind an event.

    Arguments:
        method: Of the event.
        asked: True or False; None: if whole filters or channels leave.
        selection: Of the event; where it removes nothing, nothing is estimated.
    """
    wanted = method.structure.structured if asked is None else asked
    return wanted and removes(selection)


def watch(
    network: Network, criterion: DataCriterion, batches: Iterable[Any], run: Callable
) -> None:
    """Let a criterion observe the network at work, and leave no trace in the network.

    Arguments:
        network: The network.
        criterion: Is reset first.
        batches: Of its data; for a synthetic criterion anything that `run` takes.
        run: (batch, index) -> the loss; or anything for criteria that see activations only; or
            the network's outputs for a synthetic criterion.

    Raises:
        ValueError: No batch reached a layer, or a module cannot be looked into.
    """
    criterion.reset()
    layers = network.layers
    with untouched(network.model, criterion.mode):
        if isinstance(criterion, ActivationCriterion):
            check_readable(network.model, layers, network.chosen)
            watch_inputs(layers, criterion.observe, batches, run)
        elif isinstance(criterion, SyntheticCriterion):
            with criterion.altered(network.model):
                watch_gradients(
                    layers, criterion.observe, batches, lambda b, i: criterion.objective(run(b, i))
                )
        elif isinstance(criterion, GradientCriterion):
            watch_gradients(layers, criterion.observe, batches, run)
        else:
            raise TypeError(f"{criterion!r} observes neither activations nor gradients.")


def _runner(model: nn.Module, criterion: DataCriterion | None, loss: Loss | None) -> Callable:
    """(batch, index) -> the loss, or the outputs where no criterion asks for gradients."""
    device = next(model.parameters()).device
    if loss is not None:
        return lambda batch, _: loss(model, move(batch, device))
    if criterion is None or isinstance(criterion, ActivationCriterion):
        return lambda batch, _: call(model, network_input(batch))
    raise ValueError(
        f"{type(criterion).__name__} needs gradients: give loss=(model, batch) -> loss."
    )
