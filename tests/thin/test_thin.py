"""A thin network computes what the masked one did, on every way in which layers share channels."""

import copy
import pickle

import pytest
import torch
from nets import NETS
from thin import params, random_gains, random_state
from torch import nn

from lightning_prune import thin
from lightning_prune.network.graph import build_graph
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Filters
from lightning_prune.thinning import thin_out

SIZES = {"depthwise": 9}  # pixels, where a linear layer behind a flatten asks for so many
FOLLOWED = [name for name in NETS if name != "padded"]


def example(name):
    draw = torch.Generator().manual_seed(1)
    shape = (4, 5) if name == "perceptron" else (4, 3, SIZES.get(name, 16), SIZES.get(name, 16))
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def masked(name, keep=0.5):
    """The network with random filters at zero, its input, and what a really thin one costs."""
    net, x = random_state(NETS[name]()), example(name)
    graph = build_graph(net, lambda: net(x), len(x))
    structure = Filters()
    groups = structure.groups(graph.traced(find_layers(net)), lambda: graph)
    gains = random_gains(groups, keep)
    full = {group: torch.ones(group.size) for group in groups}
    left = params(net) - structure.cost(full, "params") + structure.cost(gains, "params")
    for group, gain in gains.items():
        structure.write(group, gain)
    return net, x, left


@pytest.mark.parametrize("name", FOLLOWED)
def test_thin_equals_masked_and_is_as_small_as_the_budget_counts(name):
    net, x, left = masked(name)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    expected = net(x).detach()
    small = thin(net, x)
    assert params(small) == left < params(net)
    torch.testing.assert_close(small(x).detach(), expected, rtol=1e-10, atol=1e-10)
    assert float((expected[0] - expected[1]).abs().max()) > 1e-6  # it depends on its input
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())
    other = torch.randn_like(x) * 2
    torch.testing.assert_close(small(other).detach(), net(other).detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_thin_network_is_a_plain_module(name):
    net, x, _ = masked(name)
    small = thin(net, x)
    expected = small(x).detach()
    for twin in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(twin(x), expected)
    kinds = {type(module) for module in net.modules()}
    assert {type(module) for module in small.modules()} <= kinds
    assert not any(
        hooks for m in small.modules() for hooks in (m._forward_hooks, m._forward_pre_hooks)
    )


@pytest.mark.parametrize("name", FOLLOWED)
def test_an_optimizer_moves_every_tensor_that_is_left(name):
    net, x, _ = masked(name)
    small = thin(net, x).train()
    optimizer = torch.optim.Adam(small.parameters(), 1e-2)
    before = [parameter.detach().clone() for parameter in small.parameters()]
    small(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())
    optimizer.step()
    moved = [bool((p != old).any()) for p, old in zip(small.parameters(), before, strict=True)]
    reached = [bool(p.grad.any()) for p in small.parameters()]
    assert moved == reached
    assert sum(moved) > 0.7 * len(moved)  # a rectifier may be silent, and a norm behind a bias


def test_inplace_changes_the_model_itself():
    net, x, left = masked("residual")
    expected = net(x).detach()
    assert thin(net, x, inplace=True) is net
    assert params(net) == left
    torch.testing.assert_close(net(x).detach(), expected, rtol=1e-10, atol=1e-10)


def test_mode_dtype_and_frozen_parameters_stay():
    net, x, left = masked("residual")
    net.float().train().requires_grad_(False)
    small = thin(net, x.float())
    assert params(small) == left
    assert small.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in small.parameters())
    small.eval(), net.eval()
    torch.testing.assert_close(small(x.float()), net(x.float()), rtol=1e-4, atol=1e-5)


def test_tied_parameters_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.twice = nn.Linear(6, 10), nn.Linear(10, 10)
            self.again, self.last = nn.Linear(10, 10), nn.Linear(10, 2)
            self.again.weight = self.twice.weight

        def forward(self, x):
            x = self.first(x).sigmoid()
            return self.last(self.again(self.twice(x).sigmoid()).sigmoid())

    net = random_state(Tied())
    with torch.no_grad():  # one unit everywhere: what a tied layer makes it also reads
        for unit in (1, 4, 5):
            for layer in (net.first, net.twice, net.again):
                layer.weight[unit], layer.bias[unit] = 0, 0
            net.twice.weight[:, unit], net.last.weight[:, unit] = 0, 0
    x = torch.randn(5, 6, dtype=torch.float64)
    small = thin(net, x)
    assert small.again.weight is small.twice.weight
    assert small.twice.weight.shape == (7, 7)
    torch.testing.assert_close(small(x), net(x), rtol=1e-10, atol=1e-10)


def test_the_report_says_what_was_done():
    net, x, left = masked("residual")
    done = thin_out(net, x)
    assert done.params == (params(net), left)
    assert done.units == sum(int(flags.sum()) for flags in done.removed.values()) > 0
    assert done.stays == {}
    assert done.double
    assert done.error < 1e-12
    assert done.sizes["stem"] == {"out_channels": done.model.stem.weight.shape[0]}


def test_a_forward_that_writes_its_sizes_keeps_the_layers_it_concerns():
    net, x, left = masked("padded")
    expected = net(x).detach()
    with pytest.warns(UserWarning, match="second keeps filters that are zero"):
        small = thin(net, x)
    assert left < params(small) < params(net)
    assert small.second.out_channels > net.second.weight.flatten(1).any(1).sum()
    assert small.first.out_channels < net.first.out_channels
    torch.testing.assert_close(small(x).detach(), expected, rtol=1e-10, atol=1e-10)


class Stubborn(nn.Module):
    """The first layer's width is written into the forward, the second's is not."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 9)
        self.third = nn.Linear(9, 3)

    def forward(self, x):
        x = self.first(x).sigmoid() * torch.ones(8, dtype=x.dtype)
        return self.third(self.second(x).sigmoid())


def test_what_is_not_followed_stays_masked_and_the_rest_leaves():
    net = random_state(Stubborn())
    with torch.no_grad():
        for layer, reader, units in ((net.first, net.second, 3), (net.second, net.third, 4)):
            layer.weight[:units], layer.bias[:units], reader.weight[:, :units] = 0, 0, 0
    x = torch.randn(5, 6, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"first keeps filters that are zero: the forward of"):
        small = thin(net, x)
    assert small.first.out_features == 8
    assert small.second.out_features == small.third.in_features == 5
    torch.testing.assert_close(small(x), net(x), rtol=1e-10, atol=1e-10)
