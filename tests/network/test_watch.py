"""Showing layers at work to a criterion: every call, every gradient, and nothing left behind."""

import pytest
import torch
from torch import nn

from lightning_prune.network.layers import LayerFilter, find_layers
from lightning_prune.network.watch import check_readable, watch_gradients, watch_inputs

BATCHES = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0], [0.0, 1.0]])]


class Twice(nn.Module):
    """Applies one layer twice, the second time by keyword."""

    def __init__(self):
        super().__init__()
        self.linear, self.head = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
        self.spare = nn.Linear(2, 2)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
            self.head.weight.copy_(torch.tensor([[1.0, -1.0]]))

    def forward(self, x):
        return self.head(self.linear(input=self.linear(x)))


def used(net):
    return [layer for layer in find_layers(net) if layer.name != "spare"]


def hooks(net):
    return [m for m in net.modules() if m._forward_pre_hooks or m._forward_hooks]


def test_every_call_is_shown_with_what_it_was_called_with():
    net, seen = Twice(), []
    watch_inputs(used(net), lambda x, v: seen.append((x.name, v)), BATCHES, lambda b, _: net(b))
    first = [(name, value.tolist()) for name, value in seen[:3]]
    assert first == [("linear", [[1, 2]]), ("linear", [[2, 2]]), ("head", [[2, 4]])]
    assert [len(value) for _, value in seen] == [1, 1, 1, 2, 2, 2]
    assert not any(value.requires_grad for _, value in seen)


def test_batches_are_counted_for_who_runs_them():
    net, indices = Twice(), []

    def run(batch, index):
        indices.append(index)
        net(batch)

    watch_inputs(used(net), lambda *_: None, iter(BATCHES), run)
    assert indices == [0, 1]


def test_gradients_are_those_of_each_batch():
    net, seen = Twice(), []
    watch_gradients(
        used(net), lambda x, g, _: seen.append((x.name, g)), BATCHES, lambda b, _: net(b).sum()
    )
    assert [name for name, _ in seen] == ["linear", "head", "linear", "head"]
    for batch, (_, gradient) in zip(BATCHES, seen[1::2], strict=True):
        inputs = net.linear(net.linear(batch))  # the loss is linear in the head
        assert torch.equal(gradient, inputs.sum(0, keepdim=True).detach())
    assert all(p.grad is None for p in net.parameters())


def test_gradients_are_taken_where_they_are_switched_off_around():
    net, seen = Twice(), []
    with torch.no_grad():
        watch_gradients(
            used(net), lambda x, *_: seen.append(x.name), BATCHES, lambda b, _: net(b).sum()
        )
    assert len(seen) == 4


def test_gradients_that_are_there_stay():
    net = Twice()
    net(BATCHES[1]).sum().backward()
    before = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    watch_gradients(used(net), lambda *_: None, BATCHES, lambda b, _: net(b).sum())
    assert len(before) == 2
    for name, grad in before.items():
        assert torch.equal(net.get_parameter(name).grad, grad)


def test_a_layer_that_no_batch_reached_is_named():
    net = Twice()
    with pytest.raises(ValueError, match=r"No batch reached 'spare'.*exclude=\['spare'\]"):
        watch_inputs(find_layers(net), lambda *_: None, BATCHES, lambda b, _: net(b))
    with pytest.raises(ValueError, match="No batch reached 'spare'"):
        watch_gradients(find_layers(net), lambda *_: None, BATCHES, lambda b, _: net(b).sum())


@pytest.mark.parametrize(
    "loss",
    [lambda net, b: net(b), lambda net, b: net(b).sum().item(), lambda net, b: b.sum()],
    ids=["many numbers", "a float", "no gradient"],
)
def test_a_loss_that_is_no_number_with_a_gradient_is_refused(loss):
    net = Twice()
    with pytest.raises(ValueError, match="one number with a gradient"):
        watch_gradients(used(net), lambda *_: None, BATCHES[1:], lambda b, _: loss(net, b))


def test_hooks_are_gone_even_after_an_error():
    net = Twice()
    watch_inputs(used(net), lambda *_: None, BATCHES, lambda b, _: net(b))
    assert not hooks(net)
    with pytest.raises(RuntimeError):
        watch_inputs(used(net), lambda *_: None, [torch.ones(1, 7)], lambda b, _: net(b))
    assert not hooks(net)


def test_gradients_come_with_the_size_of_their_batch_from_one_pass_for_all_layers():
    net, seen, calls = Twice(), [], []
    net.register_forward_hook(lambda *_: calls.append("forward"))
    net.linear.weight.register_hook(lambda _: calls.append("backward"))
    watch_gradients(
        used(net), lambda x, _, n: seen.append((x.name, n)), BATCHES, lambda b, _: net(b).sum()
    )
    assert seen == [("linear", 1), ("head", 1), ("linear", 2), ("head", 2)]
    assert calls == ["forward", "backward"] * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_gradients_are_handed_over_in_float32_at_least(dtype):
    net, seen = Twice().to(dtype), []
    batches = [batch.to(dtype) for batch in BATCHES]
    watch_gradients(used(net), lambda _, g, __: seen.append(g), batches, lambda b, _: net(b).sum())
    wanted = torch.float64 if dtype is torch.float64 else torch.float32
    assert {gradient.dtype for gradient in seen} == {wanted}


class Mixed(nn.Module):
    """Attention and recurrence, whose weights are used where no hook looks."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.memory = nn.ModuleDict({"long": nn.LSTM(4, 4), "gated": nn.GRU(4, 4)})
        self.head = nn.Linear(4, 2)


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        (None, r"'attention' \(MultiheadAttention\).*exclude='attention\*'"),
        ("attention*", r"'memory\.long' \(LSTM\).*exclude='memory\.long\*'"),
        (["attention*", "memory.long*"], r"'memory\.gated' \(GRU\).*exclude='memory\.gated\*'"),
    ],
    ids=["attention", "lstm", "gru"],
)
def test_modules_that_cannot_be_looked_into_are_refused_by_name(chosen, named):
    net, chosen = Mixed(), LayerFilter(exclude=chosen)
    with pytest.raises(ValueError, match=named):
        check_readable(net, find_layers(net, chosen), chosen)


@pytest.mark.parametrize(
    "chosen",
    [
        LayerFilter(exclude=["attention*", "memory.*"]),
        LayerFilter(include="head"),
        LayerFilter("head", types="Linear"),
    ],
    ids=["left out", "not included", "of another type"],
)
def test_modules_that_are_left_out_are_not_asked_for(chosen):
    net = Mixed()
    layers = find_layers(net, chosen)
    assert [layer.name for layer in layers] == ["head"]
    check_readable(net, layers, chosen)
