"""Size: counts that a reader can do by hand, and no trace of the measuring."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_prune.evaluation import measure_size, measure_sizes


@pytest.fixture
def net() -> nn.Module:
    """4 x 4 images: 3 x 3 convolution (1 -> 2, with bias), norm, flatten, 3 classes."""
    conv = nn.Conv2d(1, 2, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))


EXAMPLE = torch.randn(5, 1, 4, 4)
PARAMS = (18 + 2) + 4 + (96 + 3)
MACS = 16 * 18 + 96


def test_counts_are_those_done_by_hand(net):
    size = measure_size(net, EXAMPLE)
    # the norm's two shifts start at zero
    assert (size["params"], size["nonzero"]) == (PARAMS, PARAMS - 2)
    assert (size["macs"], size["macs_effective"]) == (MACS, MACS)
    # float32, with the norm's running statistics and its int64 counter of batches
    assert size["bytes"] == 4 * (PARAMS + 4) + 8


def test_zeros_count_where_they_are(net):
    with torch.no_grad():
        net[0].weight[0] = 0.0
        net[4].weight[:, :10] = 0.0
    size = measure_size(net, EXAMPLE)
    assert size["nonzero"] == PARAMS - 2 - 9 - 30
    assert size["macs_effective"] == MACS - 16 * 9 - 30
    assert size["macs"] == MACS


def test_shared_parameters_count_once():
    first = nn.Linear(4, 4, bias=False)
    second = nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    size = measure_size(nn.Sequential(first, second), torch.randn(1, 4))
    assert (size["params"], size["macs"]) == (16, 32)
    assert size["bytes"] == 4 * 16


def test_without_an_example_only_what_needs_none_is_known(net):
    size = measure_size(net)
    assert size["params"] == PARAMS
    assert [size[k] for k in ("macs", "macs_effective", "latency_ms")] == [None] * 3


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_no_trace(net, training: bool):
    net.train(training)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    threads, stream = torch.get_num_threads(), torch.get_rng_state()
    latencies = [size["latency_ms"] for size in measure_sizes([net, net], EXAMPLE)]
    assert all(latency > 0 for latency in latencies)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(module.training == training for module in net.modules())


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, a, b):
            return self.fc(a + b)

    pair = (torch.randn(3, 4), torch.randn(3, 4))
    by_name = {"a": pair[0], "b": pair[1]}
    assert measure_size(Two(), pair)["macs"] == measure_size(Two(), by_name)["macs"] == 8
