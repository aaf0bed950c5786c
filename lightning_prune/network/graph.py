"""The graph: what one traced forward tells of a network's layers, units and multiply-adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from lightning_prune.network.groups import Group
from lightning_prune.network.labels import Labels
from lightning_prune.network.layers import Layer
from lightning_prune.network.maps import map_sizes
from lightning_prune.network.operators import rule
from lightning_prune.network.trace import Trace, plain_operators
from lightning_prune.network.units import Units

# their width is one number for several tensors, and they run as one operator on some devices
CLOSED = (nn.RNNBase, nn.RNNCellBase)
DEPTH = 5  # of containers and attributes in which outputs are looked for


@dataclass(frozen=True, eq=False)
class Graph:
    """What one forward of a network did.

    Arguments:
        macs: Multiply-adds of one sample's forward of the whole network, products without
            parameters included: half of what `torch.utils.flop_counter` counts. Solvers that
            choose their steps have the number of evaluations of the traced example.
        positions: By name of the layer, places per sample at which the forward multiplies each
            entry of its weight, gradients taken inside of the forward included, so that
            `positions * weight.numel()` are the multiply-adds of the layer. Other tensors than
            `weight` are listed as `module.tensor`, tied ones under their first name.
        calls: By the same names, uses in one forward.
        maps: By name of a convolution, see `Layer`.
        pinned: By name of the layer, why its filters, or some of them, cannot be removed.
        units: The units behind the groups.
    """

    macs: int
    positions: Mapping[str, int]
    calls: Mapping[str, int]
    pinned: Mapping[str, str]
    units: Units
    maps: Mapping[str, Mapping[tuple[bool, ...], int]] = field(default_factory=dict)

    def traced(self, layers: Sequence[Layer]) -> list[Layer]:
        """The same layers with their positions and calls; both 0 where no call was seen."""
        return [
            layer.traced(
                self.positions.get(key, 0), self.calls.get(key, 0), self.maps.get(layer.name)
            )
            for layer in layers
            for key in [_listed(layer.name, layer.tensor)]
        ]

    def groups(self, layers: Sequence[Layer]) -> list[Group]:
        """Filters of `layers` that can be removed, with every slice that goes with them.

        Layers that are left out of `layers` keep their outputs; the columns with which they read
        a removed filter go.
        """
        return self.units.groups(layers)

    def refused(self, layers: Sequence[Layer]) -> dict[str, str]:
        """By name, why filters of `layers` are in no group; `pinned` for a choice of layers."""
        return self.units.refused(layers)


def build_graph(model: nn.Module, run: Callable[[], object], samples: int) -> Graph:
    """Trace one forward.

    Labels of all parameters' indices are carried through every operator; what meets at one index
    is one unit. Operators that are not understood pin what they touch, so that a filter is
    offered for removal only if every operator between its layer and its readers is.

    Arguments:
        model: The network.
        run: Runs the forward once and returns its outputs; autograd inside of it is followed.
            Modes, random streams and running statistics are the caller's business.
        samples: In the batch that it runs on.

    Raises:
        ValueError: `samples` is not positive.
    """
    if samples < 1:
        raise ValueError(f"A forward is traced on at least one sample, not on {samples}.")
    labels = Labels(model)
    for own in labels.held:
        if _is_closed(own.module):
            for ids in own.dims:
                labels.pin(ids, f"{type(own.module).__name__} {own.name} reads or makes them")
    trace = Trace(labels, rule)
    with plain_operators(model), map_sizes(model) as sizes, trace:
        result = run()
    for tensor in tensors_in(result, DEPTH):
        known = trace.known(tensor)
        for ids in (*known.dims, *(hidden for hidden, _ in known.hidden)) if known else ():
            labels.pin(ids, "they are the network's outputs")
    held = labels.held
    positions = {
        place: max(1, round(work / held[place].value.numel() / samples))
        for place, work in trace.work.items()
    }
    names = {place: _listed(held[place].name, held[place].tensor) for place in positions}
    units = Units(labels, positions)
    return Graph(
        macs=round(trace.macs / samples),
        positions={names[place]: count for place, count in positions.items()},
        calls={names[place]: trace.calls[place] for place in positions},
        pinned=units.pinned(),
        units=units,
        maps={
            name: {owned: max(1, round(total / samples)) for owned, total in of_layer.items()}
            for name, of_layer in sizes.items()
        },
    )


def _is_closed(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):  # keys and values of its own are of all heads
        return module.bias_k is not None or module.bias_v is not None or module.add_zero_attn
    return isinstance(module, CLOSED)


def _listed(module: str, tensor: str) -> str:
    return module if tensor == "weight" else f"{module}.{tensor}"


def tensors_in(value: object, depth: int = DEPTH) -> list[Tensor]:
    """Every tensor in the containers and attributes of a forward's result."""
    if isinstance(value, Tensor):
        return [value]
    if depth == 0 or isinstance(value, str | bytes | int | float | nn.Module | None):
        return []
    parts: list[object] = []
    if isinstance(value, Mapping):
        parts += value.values()
    elif isinstance(value, Sequence | set | frozenset):
        parts += value
    elif dataclasses.is_dataclass(value):
        parts += [getattr(value, entry.name, None) for entry in dataclasses.fields(value)]
    parts += getattr(value, "__dict__", {}).values()
    return [tensor for part in parts for tensor in tensors_in(part, depth - 1)]
