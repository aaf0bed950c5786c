"""Neurons that leave a flow: the masked network is the smaller one, and constants are folded."""

import copy

import pytest
import torch

from lightning_prune import LayerFilter, prune
from lightning_prune.models import CNF, ConcatSquashField, ImageFlow, MLPField, TabularFlow
from lightning_prune.network.layers import find_layers
from lightning_prune.solve import Solver

SOLVER = Solver(steps=2)


def total(net):
    return sum(p.numel() for p in net.parameters())


def log_prob(net, x):
    return net.log_prob(x, trace="exact").detach()


def wired(layers):
    """By layer, which rows live, and which columns: its inputs, as many as rows lived before."""
    rows = [weight.abs().sum(1) != 0 for weight in layers]
    rows[-1] = torch.ones_like(rows[-1])  # a zero output is one, too
    return rows, [torch.ones(layers[0].shape[1], dtype=torch.bool), *rows[:-1]]


def cut(small, large, rows, columns):
    """Copy the rows and columns that live from one field's layers to another's."""
    for mine, theirs, row, column in zip(small, large, rows, columns, strict=True):
        for (name, tensor), old in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            left = old.detach()[row]
            tensor.data.copy_(left[:, column] if name.endswith("weight") else left)


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("keep", [0.7, 0.3])
def test_a_field_without_its_neurons_is_a_smaller_field(keep, time):
    torch.manual_seed(0)
    net = CNF(MLPField(hidden=[16, 12], activation="sigmoid", time=time), solver=SOLVER)
    x = torch.randn(50, 2)
    report = prune(net, "filter_norm", keep, example=x)
    layers = list(net.fields[0].layers)
    rows, columns = wired([layer.weight for layer in layers])
    hidden = [int(flags.sum()) for flags in rows[:-1]]
    assert 0 < hidden[0] < 16
    assert 0 < hidden[1] < 12
    assert all(not bool(x.bias[~flags].any()) for x, flags in zip(layers, rows, strict=True))
    small = CNF(MLPField(hidden=hidden, activation="sigmoid", time=time), solver=SOLVER)
    cut(small.fields[0].layers, layers, rows, columns)
    assert torch.allclose(log_prob(small, x), log_prob(net, x), atol=1e-5)
    assert total(small) == report.left


@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_a_concat_squash_field_without_its_neurons_is_a_smaller_one(activation):
    torch.manual_seed(0)
    net = TabularFlow(4, blocks=2, factor=3, activation=activation, solver=SOLVER)
    x = torch.randn(50, 4)
    report = prune(net, "filter_norm", 0.5, example=x)
    fields = []
    for field in net.fields:
        rows, columns = wired([layer.linear.weight for layer in field.layers])
        hidden = [int(flags.sum()) for flags in rows[:-1]]
        assert all(0 < size < 12 for size in hidden)
        fields.append(ConcatSquashField(4, hidden, activation))
        cut(fields[-1].layers, field.layers, rows, columns)
    small = CNF(fields, 4, solver=SOLVER, trainable_end_time=True)
    for mine, theirs in zip(small.roots, net.roots, strict=True):
        mine.data.copy_(theirs)
    assert torch.allclose(log_prob(small, x), log_prob(net, x), atol=1e-5)
    assert total(small) == report.left


def nearly_deaf(activation, dead):
    """A flow in which the dead neurons of each hidden layer have tiny weights; and its twin."""
    torch.manual_seed(1)
    net = CNF(MLPField(hidden=[8, 6], activation=activation), solver=SOLVER).double()
    layers = net.fields[0].layers
    with torch.no_grad():
        for layer in layers:
            layer.weight.uniform_(0.2, 0.6).mul_(torch.randn_like(layer.weight).sign())
            layer.bias.uniform_(0.5, 1)
        for layer, units in zip(layers, dead, strict=False):
            layer.weight[units] *= 1e-5
    twin = copy.deepcopy(net)
    for layer, units in zip(twin.fields[0].layers, dead, strict=False):
        layer.weight.data[units] = 0
    return net, twin


@pytest.mark.parametrize("dead", [([1], []), ([0, 5], []), ([], [2, 3]), ([0, 5], [2])])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus"])
def test_what_a_neuron_without_input_says_becomes_a_bias(activation, dead):
    net, twin = nearly_deaf(activation, dead)
    biases = [layer.bias.detach().clone() for layer in net.fields[0].layers]
    first, second = map(len, dead)
    # rows, biases and columns of what leaves; where a row and a column cross, an entry counts once
    gone = first * (2 + 1 + 6) + second * (8 + 1 + 2) - first * second
    x = torch.randn(40, 2, dtype=torch.float64)
    report = prune(net, "magnitude_clean", (total(net) - gone + 0.5) / total(net), example=x)
    assert report.left == total(net) - gone
    assert report.notes == ()
    for layer, units in zip(net.fields[0].layers, dead, strict=False):
        assert not layer.bias[units].any(), "it is gone, bias and all"
        assert not layer.weight[units].any()
    moved = [not torch.equal(a, b.bias) for a, b in zip(biases, net.fields[0].layers, strict=True)]
    assert moved == [bool(first), bool(first or second), bool(second)]
    assert torch.allclose(log_prob(net, x), log_prob(twin, x), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(log_prob(net, x), log_prob(unfolded(net, biases), x), atol=1e-3)


def unfolded(net, biases):
    """The pruned network with the biases it had."""
    plain = copy.deepcopy(net)
    for layer, bias in zip(plain.fields[0].layers, biases, strict=True):
        layer.bias.data.copy_(torch.where(layer.bias == 0, 0, bias))
    return plain


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_cleaning_reaches_below_the_share_of_the_biases(activation):
    torch.manual_seed(0)
    net = CNF(MLPField(hidden=[24, 24], activation=activation), solver=SOLVER)
    x, dense = torch.randn(30, 2), total(net)
    assert 0.02 * dense < 2 * 24 + 2, "biases alone are more"
    with pytest.raises(ValueError, match=r"the smallest reachable keep is 0\.\d{4}\.$") as told:
        prune(net, "magnitude", 0.02, example=x)
    least = float(str(told.value).split()[-1].rstrip("."))
    assert 0.02 < least < 0.1
    assert prune(copy.deepcopy(net), "magnitude", least, example=x).left <= least * dense
    report = prune(net, "magnitude_clean", 0.02, example=x)
    assert 0 < report.left <= 0.02 * dense
    assert report.left == sum(int(p.count_nonzero()) for p in net.parameters())
    assert log_prob(net, x).isfinite().all()
    assert all(layer.weight.any() for layer in find_layers(net)), "data still pass through"


def padded(speaks):
    """An image flow whose convolutions see zeros around: one filter of each layer is to leave.

    The first hidden layer's filter 1 has no input; it speaks to filter 2 of the second, which
    nothing reads, and to the others only if it `speaks`.
    """
    torch.manual_seed(0)
    net = ImageFlow((1, 4, 4), [4, 4], 1, scales=1, solver=SOLVER, trainable_end_time=None)
    first, second, last = (layer.weight.data for layer in net.fields[0].layers)
    for weight in (first, second, last):
        weight.uniform_(0.2, 0.4)
    first[1] *= 1e-5
    last[:, 2] *= 1e-5
    if not speaks:
        second[[0, 1, 3], 1] *= 1e-5
    gone = (18 + 1 + 36) + (45 - 9 + 1 + 9)
    return net, (total(net) - gone + 0.5) / total(net)


@pytest.mark.parametrize("speaks", [False, True])
def test_a_constant_is_lost_only_where_somebody_listens(speaks):
    net, keep = padded(speaks)
    report = prune(net, "magnitude_clean", keep, example=torch.rand(9, 1, 4, 4))
    assert not net.fields[0].layers[0].bias[1]
    assert not net.fields[0].layers[1].bias[2]
    assert net.fields[0].layers[1].bias.count_nonzero() == 3
    lost = [note for note in report.notes if "is lost" in note]
    assert len(lost) == speaks
    if speaks:
        assert "what 1 of 2 units without input or output passed on is lost" in lost[0]


def test_what_changes_with_time_is_no_constant():
    """A neuron under a gate says something else at every time, which no bias can."""
    torch.manual_seed(0)
    net = TabularFlow(4, factor=2, solver=SOLVER)
    net.fields[0].layers[0].linear.weight.data[3] *= 1e-5
    before = [layer.linear.bias.detach().clone() for layer in net.fields[0].layers]
    gone = 4 + 4 + 8
    keep = (total(net) - gone + 0.5) / total(net)
    only = LayerFilter(include=["fields.0.layers.0.linear", "fields.0.layers.1.linear"])
    report = prune(net, "magnitude_clean", keep, example=torch.randn(9, 4), layers=only)
    assert any("is lost: it changes with time" in note for note in report.notes)
    assert torch.equal(net.fields[0].layers[1].linear.bias, before[1])
    assert not net.fields[0].layers[0].shift[3]
