"""Budgets of latency, with tables whose numbers are known."""

from __future__ import annotations

import copy

import clocks
import nets
import pytest
import torch
from torch import nn

from lightning_prune import LatencyTables, Method, clock, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import Magnitude
from lightning_prune.network.latency import Table
from lightning_prune.network.network import Network
from lightning_prune.structures import Channels, Filters, full_cost
from lightning_prune.structures.extent import extent

SIZES = {"chain": (2, 3, 12, 12), "perceptron": (2, 5), "Residual": (2, 3, 12, 12)}


def subject(name: str) -> tuple[nn.Module, torch.Tensor]:
    return getattr(nets, name)().eval(), torch.randn(SIZES[name])


def by_macs(model: nn.Module, example: torch.Tensor, step: int = 1) -> LatencyTables:
    """A nanosecond a multiply-add, for every layer: straight in both of its widths."""
    network = Network(model, forward=lambda: model(example), samples=len(example))
    graph = network.graph()
    tables, layers = [], {}
    for layer in network.layers:
        rows, columns = layer.weight.shape[:2]
        macs = layer.positions * layer.weight.numel() // step * step
        layers[layer.name] = (len(tables),)
        tables.append(Table((0, rows), (0, columns), ((0, 0), (0, macs))))
    charged = sum(table.dense for table in tables)
    return LatencyTables(tuple(tables), layers, rest=graph.macs - charged)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("structure", [Filters(), Channels()], ids=lambda s: type(s).__name__)
def test_a_nanosecond_a_multiply_add_is_the_measure_of_multiply_adds(name, structure):
    model, example = subject(name)
    method = Method(Magnitude(), structure, Threshold())
    tables = by_macs(model, example)
    other = copy.deepcopy(model)
    told = prune(model, method, 0.4, measure=tables, example=example)
    macs = prune(other, method, 0.4, measure="macs", example=example)
    assert (told.dense, told.left, told.budget) == (macs.dense, macs.left, macs.budget)
    assert told.measure == "latency"
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_cost_of_all_units_is_that_of_the_dense_layers():
    model, example = subject("Residual")
    tables = by_macs(model, example)
    network = Network(model, forward=lambda: model(example), samples=2)
    groups = Filters().groups(network.layers, network.graph)
    assert full_cost(Filters(), groups, tables) + tables.rest == tables.dense


def test_the_cost_is_what_a_network_really_built_smaller_costs():
    """Half of the first convolution's filters, and of the columns that read them."""
    model, example = subject("chain")
    network = Network(model, forward=lambda: model(example), samples=2)
    network.graph()
    groups = Filters().groups(network.layers, network.graph)
    gains = {group: torch.ones(group.size) for group in groups}
    first = next(group for group in groups if group.layers[0].name == "0")
    gains[first][5:] = 0.0
    tables = by_macs(model, example)
    smaller = nets.chain()
    smaller[0], smaller[1] = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
    smaller[3] = nn.Conv2d(5, 12, 3, bias=False)
    assert extent(gains, tables) + tables.rest == tables.of(smaller)


@pytest.mark.parametrize("keep", [0.8, 0.5, 0.3])
def test_the_budget_is_held_and_used_to_one_unit(keep):
    model, example = subject("Residual")
    tables = by_macs(model, example, step=7)
    told = prune(model, "filter_norm_global", keep, measure=tables, example=example)
    assert told.left <= told.budget == int(keep * tables.dense)
    network = Network(nets.Residual(), forward=None)
    dearest = max(tables.cost(layer.name, layer.weight.shape) for layer in network.layers)
    assert told.gap < dearest
    assert told.keep == told.left / told.dense


def test_equal_tables_make_equal_selections():
    model, example = subject("chain")
    other = copy.deepcopy(model)
    tables = by_macs(model, example, step=100)
    again = LatencyTables.from_dict(tables.to_dict())
    one = prune(model, "filter_norm", 0.5, measure=tables, example=example)
    two = prune(other, "filter_norm", 0.5, measure=again, example=example)
    assert one.left == two.left
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_time_outside_of_layers_is_out_of_reach():
    model, example = subject("chain")
    tables = by_macs(model, example)
    constant = LatencyTables(tables.tables, tables.layers, rest=tables.dense)
    with pytest.raises(
        ValueError, match=r"nanoseconds .* are not prunable .* reachable keep is 0.5"
    ):
        prune(model, "filter_norm", 0.3, measure=constant, example=example)


def test_the_report_says_what_is_foretold():
    model, example = subject("chain")
    told = prune(model, "filter_norm", 0.5, measure=by_macs(model, example), example=example)
    (note,) = [note for note in told.notes if "predicted" in note]
    assert note.startswith(f"{told.left / 1e6:.3g} of {told.dense / 1e6:.3g} ms a forward are")
    assert "(cpu, batch 1, threads 1)" in note
    assert f"{told.dense / 1e6:.3g} ms" in str(told)


def test_latency_is_measured_where_no_tables_are_given(monkeypatch):
    monkeypatch.setattr(clock, "fastest", clocks.fastest)
    model, example = subject("perceptron")
    told = prune(model, "filter_norm", 0.6, measure="latency", example=example)
    assert told.measure == "latency"
    assert 0 < told.left <= told.budget < told.dense


def test_what_cannot_be_counted_is_said():
    model, example = subject("chain")
    with pytest.raises(ValueError, match="takes whole filters or channels: Weights leaves layers"):
        prune(model, "magnitude", 0.5, measure="latency", example=example)
    with pytest.raises(ValueError, match="latency has to be measured first, on an example"):
        prune(model, "filter_norm", 0.5, measure="latency")
    with pytest.raises(ValueError, match="or 'latency' of whole filters and channels, not 'flops'"):
        prune(model, "filter_norm", 0.5, measure="flops", example=example)
    tables = by_macs(*subject("perceptron"))
    with pytest.raises(ValueError, match="of another network"):
        prune(model, "filter_norm", 0.5, measure=tables, example=example)
