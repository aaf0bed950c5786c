"""The guard: forwards inside leave no trace in the network or in a random stream."""

import random

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_prune.network.untouched import untouched


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
        self.frozen = nn.Sequential(nn.BatchNorm1d(6)).eval()  # as a user may have it
        self.head = nn.Linear(6, 3)
        self.accuracy = MulticlassAccuracy(3)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return self.head(self.frozen(self.body(x)))

    def training_step(self, batch, batch_idx):
        logits = self(batch)
        self.accuracy.update(logits, torch.zeros(len(batch), dtype=torch.long))
        self.log("loss", logits.mean())
        self.log_dict({"again": logits.mean()})
        return logits.mean()


X = torch.linspace(-1, 1, 32).view(8, 4)


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def streams():
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]


def draw():
    return [torch.rand(1).item(), float(np.random.rand()), random.random()]


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_running_statistics_and_other_buffers_are_as_before(mode):
    net = Net()
    before = state(net)
    with untouched(net, mode):
        net.training_step(X, 0)
        assert net.calls == 1
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_without_the_guard_they_would_not_be():
    net = Net()
    before = state(net)
    net(X)
    changed = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    statistics = {f"body.1.{name}" for name in nn.BatchNorm1d(1).state_dict()}
    assert changed == {"calls"} | statistics - {"body.1.weight", "body.1.bias"}


def test_buffers_that_a_forward_replaces_are_as_before():
    class Queue(nn.Linear):
        def __init__(self):
            super().__init__(4, 2)
            self.register_buffer("last", torch.zeros(2))

        def forward(self, x):
            out = super().forward(x)
            self.last = out.detach()[0]
            return out

    net = Queue()
    kept = net.last
    with untouched(net):
        net(X)
        assert net.last.any()
    assert net.last is kept
    assert not net.last.any()


@pytest.mark.parametrize(("mode", "inside"), [("eval", False), ("train", True)])
def test_modes_are_set_back_module_by_module(mode, inside):
    net = Net()
    modes = [module.training for module in net.modules()]
    assert True in modes
    assert False in modes
    with untouched(net, mode):
        assert {module.training for module in net.modules()} == {inside}
    assert [module.training for module in net.modules()] == modes


def test_random_streams_continue_where_they_were():
    net = Net()
    draw()
    before = streams()
    with untouched(net, "train"):
        net(X)
        draw()
    assert streams() == before


def test_metrics_are_as_before():
    net = Net()
    net.accuracy.update(torch.eye(3), torch.tensor([0, 1, 0]))
    score, updates = net.accuracy.compute(), net.accuracy.update_count
    with untouched(net):
        net.training_step(X, 0)
        assert net.accuracy.update_count == updates + 1
    assert (net.accuracy.compute(), net.accuracy.update_count) == (score, updates)
    net.accuracy.update(torch.eye(3), torch.tensor([0, 1, 2]))
    assert net.accuracy.compute() > score


def test_logging_is_muted_inside_and_there_again_afterwards():
    net = Net()
    with untouched(net):
        net.training_step(X, 0)  # logs, which Lightning refuses in most hooks
    assert "log" not in vars(net)
    assert "log_dict" not in vars(net)
    assert net.log.__func__ is pl.LightningModule.log


def test_logging_of_modules_within_is_muted_too():
    outer = nn.ModuleDict({"inner": Net()})
    with untouched(outer):
        outer["inner"].training_step(X, 0)
    assert outer["inner"].log.__func__ is pl.LightningModule.log


def test_a_log_of_the_users_own_is_put_back():
    net, lines = Net(), []
    net.log = lambda name, *_, **__: lines.append(name)
    with untouched(net):
        net.training_step(X, 0)
    net.log("mine", 1.0)
    assert lines == ["mine"]


def test_everything_is_as_before_after_an_error_too():
    net = Net()
    before, modes, drawn = state(net), [m.training for m in net.modules()], streams()

    def fail():
        with untouched(net, "train"):
            net.training_step(X, 0)
            draw()
            raise KeyError("in a batch")

    with pytest.raises(KeyError, match="in a batch"):
        fail()
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [module.training for module in net.modules()] == modes
    assert streams() == drawn
    assert "log" not in vars(net)


def test_hooks_see_the_calls_of_compiled_parts():
    net, seen = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval(), []
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        compiled(X)
        handle = net[0].register_forward_pre_hook(lambda *_: seen.append(1))
        compiled(X)
        assert seen == [], "what is compiled does not call hooks that came later"
        with untouched(compiled):
            compiled(X)
    handle.remove()
    assert seen == [1]


def test_it_may_be_entered_again():
    net = Net()
    before = state(net)
    with untouched(net, "train"):
        with untouched(net, "eval"):
            net(X)
            assert not net.training
        assert net.training
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
