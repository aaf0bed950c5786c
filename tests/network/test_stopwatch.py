"""The stopwatch with a clock that counts products: what is measured, at which widths."""

from __future__ import annotations

import clocks
import numpy as np
import pytest
import torch
from torch import nn

from lightning_prune import measure_latencies
from lightning_prune.network.network import Network
from lightning_prune.network.standalone import uses
from lightning_prune.network.stopwatch import _monotone, widths

EXAMPLE = torch.randn(2, 3, 8, 8)


def by_products(sides, device):
    return clocks.fastest(sides)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 32, 1, bias=False),
        nn.ConvTranspose2d(32, 10, 2, stride=2), nn.Flatten(), nn.Linear(640, 5),
    )  # fmt: skip


def test_the_dense_network_costs_what_was_measured():
    model = net()
    (whole,) = by_products([lambda: model(EXAMPLE[:1])], None)
    tables = measure_latencies(model, EXAMPLE, timer=by_products)
    # six layers alone are called six times, so their shares are scaled to the whole
    assert tables.dense == tables.of(model) == pytest.approx(1e9 * whole, abs=1)
    assert (tables.batch, tables.threads, tables.device) == (1, torch.get_num_threads(), "cpu")


def test_what_is_in_no_layer_is_a_constant_rest():
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x):
            return self.fc(x) @ torch.ones(8, 1000)

    tables = measure_latencies(Products(), torch.randn(1, 8), timer=by_products)
    assert tables.rest == 1000 * 8000
    assert tables.cost("fc", (8, 8)) == 1000 * 65


def test_layers_cost_their_products_at_every_width():
    """In products alone, a smaller layer is the layer that a network built smaller has."""
    model = net()
    products = measure_latencies(
        model, EXAMPLE, batch=None, timer=lambda s, d: [t - 1e-6 for t in by_products(s, d)]
    )
    graph = Network(model, forward=lambda: model(EXAMPLE), samples=2).graph()
    assert products.dense == 1000 * 2 * graph.macs
    assert products.rest == 0
    for name, shape in {
        "0": (5, 2, 3, 3), "3": (7, 1, 3, 3), "4": (16, 8, 1, 1), "5": (24, 3, 2, 2), "7": (4, 80)
    }.items():  # fmt: skip
        macs = 2 * graph.positions[name] * torch.Size(shape).numel()
        assert products.cost(name, shape) == pytest.approx(1000 * macs, abs=1), name
    assert products.cost("1", (12,)) == 0, "a norm has no products"


def test_layers_that_are_used_alike_share_a_table():
    block = nn.Linear(16, 16)
    model = nn.Sequential(block, nn.Linear(16, 16), nn.ReLU(), block, nn.Linear(16, 4))
    tables = measure_latencies(model, torch.randn(1, 16), timer=by_products)
    assert tables.layers == {"0": (0, 0), "1": (0,), "4": (1,)}
    assert len(tables.tables) == 2


def test_a_layer_alone_is_called_as_in_the_network():
    model = net()
    with uses(model) as found:
        model(EXAMPLE)
    wanted = {}
    for name in found:

        def hook(_, __, out, name=name):
            wanted[name] = out.shape

        model[int(name)].register_forward_hook(hook)
    model(EXAMPLE)
    for name, (use,) in found.items():
        assert use.side(*use.sizes)().shape == wanted[name], name
    depthwise, transposed = found["3"][0], found["5"][0]
    assert depthwise.side(5, 1)().shape == (2, 5, 4, 4)
    assert transposed.side(6, 7)().shape == (2, 7, 8, 8)


def test_grouped_layers_lose_whole_groups():
    model = nn.Conv2d(8, 12, 3, groups=4)
    with uses(model) as found:
        model(torch.randn(1, 8, 5, 5))
    ((use,),) = found.values()
    assert use.sizes == (12, 1)
    layer = use.side(6, 1).func
    assert (layer.groups, layer.in_channels, layer.out_channels) == (2, 4, 6)


def test_layers_with_a_forward_of_their_own_are_left_to_the_rest():
    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x).relu()

    assert measure_latencies(Own(3, 3), torch.randn(1, 3), timer=by_products).layers == {}


def test_maps_keep_their_order_in_memory():
    model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    with uses(model) as found:
        model(torch.randn(1, 4, 6, 6).to(memory_format=torch.channels_last))
    ((use,),) = found.values()
    assert use.side(2, 3).args[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_nothing_of_the_model_or_of_random_streams_changes():
    model = net().train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream, threads = torch.get_rng_state(), torch.get_num_threads()
    tables = measure_latencies(model, EXAMPLE, threads=2, timer=by_products)
    assert tables.threads == 2
    assert (torch.get_num_threads(), model.training) == (threads, True)
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_the_grid_of_widths():
    assert widths(1) == [1]
    assert widths(5) == [1, 2, 4, 5]
    assert widths(13) == [1, 2, 3, 6, 10, 13]
    assert widths(64) == [1, 8, 16, 32, 48, 64]
    assert widths(100) == [1, 16, 24, 48, 72, 96, 100]


def test_what_falls_is_levelled():
    noisy = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 4.0]])
    level = _monotone(noisy)
    assert level.tolist() == [[1.0, 2.5, 2.5], [2.0, 2.5, 4.0]]
    assert _monotone(level).tolist() == level.tolist()


def test_time_itself_is_measured_too():
    tables = measure_latencies(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), torch.randn(4, 6))
    assert tables.dense > 0
    assert set(tables.layers) == {"0", "1"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_layers_on_an_accelerator_are_measured_there():
    tables = measure_latencies(net().cuda(), EXAMPLE)
    assert tables.device == "cuda"
    assert tables.of(net()) == tables.dense > 0
