"""Measurement: an event's bounds and errors, found by a look at the network before it changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from lightning_prune.allocations import Sampled, Selection
from lightning_prune.bounds.layer_bounds import Bounds, tell
from lightning_prune.bounds.row_errors import RowErrors
from lightning_prune.bounds.theory import has_theory, predict
from lightning_prune.criteria import SiPP
from lightning_prune.methods import Method
from lightning_prune.network.batches import batch_size
from lightning_prune.network.network import Network
from lightning_prune.network.untouched import untouched
from lightning_prune.network.watch import watch_inputs
from lightning_prune.selection import candidates_of, removes

Draw = Callable[[bool], Iterable[Any]]


def measure_bounds(
    network: Network,
    method: Method,
    selection: Selection,
    gone: Mapping[str, Tensor],
    draw: Draw,
    run: Callable[[Any, int], Any],
) -> Bounds | None:
    """What the theory of a method says of a selection, and what held-out inputs say of it.

    Arguments:
        network: As it is before the selection is written.
        method: Its criterion has seen the data.
        selection: Of the method.
        gone: By group, (n_units,) floats, 0 where an earlier event removed the unit.
        draw: (held out) -> batches of data that the criterion did not see, or of those it did.
        run: (batch, index) -> anything; runs the network.

    Returns:
        None: the method has no theory, nothing leaves, or there are no data any more.
    """
    if not has_theory(method) or not removes(selection):
        return None
    assert isinstance(method.criterion, SiPP)
    candidates = []
    if isinstance(method.allocation, Sampled):
        groups = method.structure.groups(network.layers, network.graph)
        candidates = candidates_of(method, groups, gone)
    predicted = predict(method, network.layers, selection, candidates)
    errors = RowErrors({n: p.weight for n, p in predicted.items()}, method.criterion.patches)
    counts: list[int] = []
    layers = [layer for layer in network.layers if layer.name in predicted]
    with untouched(network.model):
        batches = _held_out(draw, counts)
        first = next(batches, None)
        if first is None:  # of an iterator that was read to its end
            return None
        watch_inputs(layers, errors.observe, itertools.chain([first], batches), run)
    return tell(predicted, errors.seen, sum(counts))


def _held_out(draw: Draw, counts: list[int]) -> Iterator[Any]:
    """Held-out batches and how many samples they have; those seen where there are no others."""
    for batch in draw(True):
        counts.append(batch_size(batch))
        yield batch
    if not counts:
        yield from draw(False)
