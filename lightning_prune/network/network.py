"""The network as pruning sees it: its layers, its dense size, and one traced forward if asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from lightning_prune.lowrank import factors_of, folding_of
from lightning_prune.network.counting import count_nonzero
from lightning_prune.network.graph import Graph, build_graph
from lightning_prune.network.latency import LatencyTables
from lightning_prune.network.layers import (
    Layer,
    LayerFilter,
    dense_parameters,
    find_layers,
    plain_name,
)
from lightning_prune.network.origin import Origin
from lightning_prune.network.untouched import untouched


class Network:
    """What does not change from event to event.

    Arguments:
        model: The model, or a LightningModule.
        chosen: Which layers are prunable.
        forward: Runs the network once on an example and returns its outputs; called in eval mode
            and only if a structure or a measure needs the traced forward. None: there is no
            example.
        samples: Samples in that example.

    Raises:
        ValueError: See `find_layers`.
    """

    def __init__(
        self,
        model: nn.Module,
        chosen: LayerFilter | None = None,
        forward: Callable[[], Any] | None = None,
        samples: int = 1,
    ) -> None:
        self.model = model
        self.params = dense_parameters(model)
        self.chosen = chosen or LayerFilter()
        self._untraced = find_layers(model, chosen)
        self._forward = forward
        self._samples = samples
        self._graph: Graph | None = None
        self.latency: LatencyTables | None = None
        self.origin: Origin | None = None
        self.untraceable: str | None = None if forward else "no example input was given"

    @property
    def wants_example(self) -> bool:
        """Nothing was traced yet, and there is nothing to trace."""
        return self._graph is None and self._forward is None

    def offer_example(self, forward: Callable[[], Any], samples: int) -> None:
        """Take an example where none was traced yet."""
        if self.wants_example:
            self._forward, self._samples, self.untraceable = forward, samples, None

    def graph(self) -> Graph:
        """The traced forward, made at the first call.

        Raises:
            ValueError: There is no example, or the forward failed on it.
        """
        if self._graph is None:
            if self._forward is None:
                raise ValueError(
                    "The network has to be traced for this method or measure, and there is no "
                    "example input; give one (example=... or loader=... without a Trainer)."
                )
            try:
                with untouched(self.model):
                    self._graph = build_graph(self.model, self._forward, self._samples)
                self._forward = None  # it holds the example
            except Exception as error:
                self.untraceable = f"{type(error).__name__}: {error}"
                raise ValueError(f"The example forward failed: {self.untraceable}") from error
        return self._graph

    def traced(self) -> Graph | None:
        """The traced forward, or None with the reason in `untraceable`."""
        if self._graph is None and self.untraceable is None:
            try:
                self.graph()
            except ValueError:
                return None
        return self._graph

    @property
    def layers(self) -> list[Layer]:
        """The prunable layers, with positions and calls once the network was traced."""
        return self._graph.traced(self._untraced) if self._graph else self._untraced

    def counted(self, measure: Any) -> Any:
        """The measure that costs are counted in: for `latency`, the tables of the network.

        Raises:
            ValueError: They were not measured, or are of another network.
        """
        tables = self.latency if measure == "latency" else measure
        if tables is None:
            raise ValueError("The network's latency has to be measured first, on an example.")
        if isinstance(tables, LatencyTables):
            tables.check(self.model)
        return tables

    def dense(self, measure: str | LatencyTables) -> int:
        """The dense network's size: parameters, multiply-adds of one sample's forward, or time."""
        if isinstance(measure, LatencyTables):
            return measure.dense
        if self.origin is not None:
            return self.origin.of(measure)
        return self.present(measure)

    def present(self, measure: str | LatencyTables) -> int:
        """The network's size as it is: smaller than dense where units were taken out of it."""
        if isinstance(measure, LatencyTables):
            return measure.of(self.model)
        return self.params if measure == "params" else self.graph().macs

    def nonzeros(self) -> dict[nn.Parameter, int]:
        """Entries that are not zero now, for every parameter, shared ones once."""
        return {p: count_nonzero(p) for p in self.model.parameters()}

    def effective_macs(self, nonzeros: Mapping[nn.Parameter, int]) -> int | None:
        """Multiply-adds of one sample with the zeros of the weights left out; None: not traced."""
        graph = self.traced()
        if graph is None:
            return None
        spared = 0
        for name, module in self.model.named_modules():
            positions = graph.positions.get(plain_name(name), 0)
            weight = module._parameters.get("weight")
            if (folding := folding_of(module)) is not None:
                rank = factors_of(module)[1].shape[1] // folding.slices
                maps = graph.maps.get(plain_name(name))
                spared += positions * folding.numel - folding.macs(rank, positions, maps)
            elif positions and weight is not None:
                spared += positions * (weight.numel() - nonzeros[weight])
        return graph.macs - spared
