"""Optimizers of every kind: what is removed stays removed, and nothing is remembered of it."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from classifiers import SIZE, Classifier, Probe, convolutional, fit, loader, nonzero, perceptron
from torch import optim

from lightning_prune import OneShot, Pruning, Steps

EVENTS = Steps({1: 0.6, 2: 0.3})
OPTIMIZERS = {
    "sgd": partial(optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": partial(optim.SGD, lr=0.05, momentum=0.9, nesterov=True, foreach=True),
    "fused sgd": partial(optim.SGD, lr=0.05, momentum=0.9, fused=True),
    "adam": partial(optim.Adam, lr=1e-2, amsgrad=True),
    "one by one": partial(optim.AdamW, lr=1e-2, foreach=False),
    "fused adam": partial(optim.AdamW, lr=1e-2, fused=True),
    "rmsprop": partial(optim.RMSprop, lr=1e-3, momentum=0.9, centered=True),
    "adagrad": partial(optim.Adagrad, lr=1e-2),
    "adadelta": partial(optim.Adadelta, lr=1e-2),
    "asgd": partial(optim.ASGD, lr=1e-2),
    "rprop": partial(optim.Rprop, lr=1e-3),
    "adafactor": partial(optim.Adafactor, lr=1e-2),
    "lbfgs": partial(optim.LBFGS, lr=0.1, max_iter=3),
}


def pruning(schedule=EVENTS, **options):
    return Pruning("magnitude", schedule, verbose=False, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_holds_the_zeros_and_trains_the_rest(name):
    module = Classifier(optimizer=OPTIMIZERS[name])
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    gone = Probe("on_train_batch_end", lambda _, m: [p.detach() == 0 for p in m.parameters()])
    values = Probe("on_train_epoch_end", lambda _, m: [p.detach().clone() for p in m.parameters()])
    callback = pruning()
    fit(module, callback, counts, gone, values, max_epochs=4)
    targets = [SIZE, int(0.6 * SIZE), int(0.3 * SIZE), int(0.3 * SIZE)]
    assert counts.seen == [target for target in targets for _ in range(4)]
    for before, after in zip(gone.seen, gone.seen[1:], strict=False):
        assert all(bool((a | ~b).all()) for a, b in zip(after, before, strict=True))
    moved = [(a - b)[a != 0].abs() for a, b in zip(values.seen[-1], values.seen[-2], strict=True)]
    assert all(len(m) == 0 or m.max() > 0 for m in moved)
    assert all(p.isfinite().all() for p in module.parameters())


class Langevin(optim.SGD):
    """Moves every entry, whatever its gradient."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            parameter.add_(torch.randn_like(parameter), alpha=1e-2)
        return loss


def test_what_an_optimizer_moves_without_a_gradient_is_zero_again():
    module = Classifier(optimizer=partial(Langevin, lr=0.01))
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    fit(module, pruning(), counts)
    assert counts.seen[4:] == [int(0.6 * SIZE)] * 4 + [int(0.3 * SIZE)] * 4


def remembered(trainer, module):
    """Entries of the optimizer's state that belong to weights that are zero."""
    (optimizer,) = trainer.optimizers
    found = 0
    for parameter, state in optimizer.state.items():
        for value in state.values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                found += int(value[(parameter == 0) & (parameter.grad is not None)].count_nonzero())
    return found


@pytest.mark.parametrize("name", ["sgd", "adam", "fused adam", "rmsprop", "adagrad", "adadelta"])
def test_nothing_is_remembered_of_what_is_removed(name):
    after_event = Probe("on_train_batch_start", remembered)
    after_step = Probe("on_train_batch_end", remembered)
    fit(Classifier(optimizer=OPTIMIZERS[name]), pruning(), after_event, after_step)
    assert after_event.seen == [0] * 12
    assert after_step.seen == [0] * 12


@pytest.mark.parametrize("name", ["adafactor", "lbfgs"])
def test_state_that_cannot_be_masked_starts_afresh_and_the_report_says_so(name):
    callback = pruning()
    state = Probe("on_train_batch_start", lambda t, m: len(t.optimizers[0].state.get(
        next(iter(m.net[0].parameters())), {})))  # fmt: skip
    fit(Classifier(optimizer=OPTIMIZERS[name]), callback, state)
    assert state.seen[4] == 0  # the first batch after the event
    assert state.seen[5] > 0
    for event in callback.events:
        assert any("starts afresh" in note for note in event["notes"])


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "lbfgs"])
def test_the_optimizer_steps_with_gradients_that_are_zero_where_weights_are(name):
    """So that it moves no removed weight, even before it is held."""
    seen = []

    def look(optimizer, *_):
        members = optimizer.param_groups[0]["params"]
        zeros = [p == 0 for p in members]
        grads = sum(int(p.grad[z].count_nonzero()) for p, z in zip(members, zeros, strict=True))
        seen.append((grads, nonzero(members)))

    def make(parameters):
        optimizer = OPTIMIZERS[name](parameters)
        optimizer.register_step_post_hook(look)  # before ours
        return optimizer

    fit(Classifier(optimizer=make), pruning())
    targets = (SIZE, int(0.6 * SIZE), int(0.3 * SIZE))
    assert seen == [(0, target) for target in targets for _ in range(4)]


def by_hand(net, make, epochs, event, keep):
    """The same training written out: threshold, masks, gradients and momentum masked."""
    optimizer, masks = make(net.parameters()), {}
    weights = [p for p in net.parameters() if p.dim() > 1]
    for epoch in range(epochs):
        if epoch == event:
            left = int(keep * SIZE) - (SIZE - sum(w.numel() for w in weights))
            cut = torch.cat([w.detach().abs().flatten() for w in weights]).sort(descending=True)[0]
            masks = {w: (w.detach().abs() > cut[left]).float() for w in weights}
            for weight, mask in masks.items():
                weight.data.mul_(mask)
                for value in optimizer.state[weight].values():
                    if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                        value.mul_(mask)
        for x, y in loader():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            for weight, mask in masks.items():
                weight.grad.mul_(mask)
            optimizer.step()
            for weight, mask in masks.items():
                weight.data.mul_(mask)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "fused adam", "adadelta"])
def test_training_is_bit_for_bit_the_one_that_is_written_out_by_hand(name):
    torch.manual_seed(1)
    module = Classifier(optimizer=OPTIMIZERS[name])
    net = perceptron()
    net.load_state_dict(module.net.state_dict())
    by_hand(net, OPTIMIZERS[name], 3, 1, 0.4)
    fit(module, pruning(OneShot(1, keep=0.4)))
    for ours, theirs in zip(module.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert nonzero(net.parameters()) == int(0.4 * SIZE)


GIVEN = {
    "a list": lambda net: list(net.parameters()),
    "groups": lambda net: [
        {"params": list(net[0].parameters()), "lr": 0.01},
        {"params": [p for part in list(net)[1:] for p in part.parameters()]},
    ],
    "names": lambda net: net.named_parameters(),
}


@pytest.mark.parametrize("given", GIVEN)
def test_parameters_may_come_raw_in_groups_or_with_names(given):
    module = Classifier()
    module.configure_optimizers = lambda: optim.SGD(GIVEN[given](module.net), lr=0.1)
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    fit(module, pruning(), counts)
    assert counts.seen[4:] == [int(0.6 * SIZE)] * 4 + [int(0.3 * SIZE)] * 4


def test_weights_that_no_optimizer_has_are_pruned_and_stay():
    module = Classifier()
    module.configure_optimizers = lambda: optim.SGD(module.net[5].parameters(), lr=0.1)
    fit(module, pruning())
    assert nonzero(module.parameters()) == int(0.3 * SIZE)


def test_running_means_are_left_alone():
    module = Classifier(convolutional())
    fit(module, pruning(), data=loader(shape=(1, 8, 8)))
    assert module.net[1].running_mean.count_nonzero() == 8
    assert module.net[1].weight.count_nonzero() == 8
