"""Showing layers at work to a criterion: every call, every gradient, and nothing left behind."""

import pytest
import torch
from torch import nn

from lightning_prune.network.layers import find_layers
from lightning_prune.network.watch import watch_gradients, watch_inputs

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
        used(net), lambda x, g: seen.append((x.name, g)), BATCHES, lambda b, _: net(b).sum()
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
            used(net), lambda x, _: seen.append(x.name), BATCHES, lambda b, _: net(b).sum()
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
