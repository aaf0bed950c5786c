"""Structures that change parameters: the optimizers go on with those that are there."""

import pytest
import torch
from classifiers import Classifier, Probe, fit, loader, trainer
from factors import Factored, Ranks, factor, unfactor
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR

from lightning_prune import Method, OneShot, Pruning, Steps
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import Magnitude
from lightning_prune.training.optimizers import parameters_of, refill

METHOD = Method(Magnitude(p=float("inf")), Ranks(), Threshold())
EVENTS = Steps({1: 0.8, 3: 0.5})


def net():
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )


def pruning(schedule=EVENTS):
    return Pruning(METHOD, schedule, verbose=False)


def test_a_network_is_factored_twice_and_trains_on():
    module, callback = Classifier(net()), pruning()
    dense = sum(p.numel() for p in module.parameters())
    counts = Probe("on_train_batch_end", lambda _, m: sum(p.numel() for p in m.parameters()))
    values = Probe("on_train_batch_end", lambda _, m: [p.detach().clone() for p in m.parameters()])
    fit(module, callback, counts, values, max_epochs=5)
    first, second = (event["left"] for event in callback.events)
    assert counts.seen == [dense] * 4 + [first] * 8 + [second] * 8
    assert second <= 0.5 * dense < first <= 0.8 * dense
    for before, after in zip(values.seen[-2], values.seen[-1], strict=True):
        assert not torch.equal(before, after)


def test_the_report_counts_the_numbers_that_are_stored():
    module, callback = Classifier(net()), pruning(OneShot(1, keep=0.5))
    fit(module, callback, max_epochs=2)
    event = callback.events[-1]
    assert event["nonzero"] == event["left"] == sum(p.numel() for p in module.parameters())


def test_restored_weights_are_the_products():
    module = Classifier(net())
    dense = module.net[2].weight.detach().clone()
    factor(module.net[2], 16, 1)
    unfactor(module.net[2])
    torch.testing.assert_close(module.net[2].weight.detach(), dense)


def test_variants_are_chosen_layer_by_layer():
    """Two blocks cost more per rank, and describe a matrix of two different halves better."""
    module = Classifier(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)))
    for place, blocks in ((0, 1), (1, 2)):
        factor(module.net[place], 1, blocks)
        unfactor(module.net[place])
    callback = pruning(OneShot(0, keep=0.5))
    fit(module, callback, max_epochs=1)
    blocks = [len(part.right) for part in module.net if isinstance(part, Factored)]
    assert blocks[0] == 1
    assert 2 in blocks


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, momentum=0.9), optim.Adam])
def test_survivors_keep_their_state_and_the_dead_leave(make):
    module = Classifier(net(), optimizer=make)
    held = []

    def look(trainer, module):
        (optimizer,) = trainer.optimizers
        biases = {n: p for n, p in module.named_parameters() if n.endswith("bias")}
        states = {
            n: {k: v.clone() if torch.is_tensor(v) else v for k, v in optimizer.state[p].items()}
            for n, p in biases.items()
        }
        held.append(
            (optimizer, biases, states, set(parameters_of(optimizer)), set(optimizer.state))
        )

    after_step, after_event = Probe("on_train_batch_end", look), Probe("on_train_batch_start", look)
    fit(module, pruning(OneShot(1, keep=0.5)), after_step, after_event, max_epochs=2)
    before, after = held[7], held[8]  # the last batch of the first epoch, and after the event
    assert before[0] is after[0]
    assert before[1] == after[1]
    for name, state in before[2].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(after[2][name][key]))
    dead = before[3] - after[3]
    assert len(dead) >= 2
    assert not dead & after[4]
    assert after[3] == set(module.parameters())


class Scheduled(Classifier):
    def configure_optimizers(self):
        weights = [p for n, p in self.named_parameters() if not n.endswith("bias")]
        biases = [p for n, p in self.named_parameters() if n.endswith("bias")]
        groups = [{"params": weights, "lr": 0.1, "weight_decay": 1e-3}, {"params": biases}]
        optimizer = optim.SGD(groups, lr=0.02, momentum=0.9)
        return [optimizer], [{"scheduler": StepLR(optimizer, 1, 0.5), "interval": "epoch"}]


def test_schedulers_rates_and_groups_stay():
    rates = Probe(
        "on_train_batch_start",
        lambda t, _: [(g["lr"], g["weight_decay"]) for g in t.optimizers[0].param_groups],
    )
    sizes = Probe(
        "on_train_batch_end", lambda t, _: [len(g["params"]) for g in t.optimizers[0].param_groups]
    )
    fit(Scheduled(net()), pruning(), rates, sizes, max_epochs=4)
    halvings = [0.5**epoch for epoch in range(4) for _ in range(4)]
    assert rates.seen == [[(0.1 * h, 1e-3), (0.02 * h, 0)] for h in halvings]
    assert sizes.seen[0] == [3, 3]
    assert sizes.seen[-1][0] > 3
    assert sizes.seen[-1][1] == 3


def test_an_optimizer_that_flattens_its_parameters_goes_on_as_well():
    module = Classifier(net(), optimizer=lambda p: optim.LBFGS(p, lr=0.1, max_iter=3))
    values = Probe("on_train_batch_end", lambda _, m: [p.detach().clone() for p in m.parameters()])
    fit(module, pruning(), values, max_epochs=5)
    assert all(p.isfinite().all() for p in module.parameters())
    for before, after in zip(values.seen[-2], values.seen[-1], strict=True):
        assert not torch.equal(before, after)


def test_averages_are_refused_where_parameters_change():
    with pytest.raises(ValueError, match=r"Ranks changes parameters.*averaging"):
        fit(Classifier(net()), pruning(), EMAWeightAveraging(decay=0.9), max_epochs=4)


FORMS = {
    "one": lambda a: a,
    "a list": lambda a: [a],
    "a tuple of two": lambda a: (a, optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)),
    "with schedulers": lambda a: ([a], [StepLR(a, 1)]),
    "a dict": lambda a: {"optimizer": a, "lr_scheduler": StepLR(a, 1)},
    "dicts": lambda a: ({"optimizer": a}, {"optimizer": optim.SGD([nn.Parameter(torch.ones(1))])}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_configure_optimizers_is_understood(form):
    old, new = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    several = 2 if form in ("a tuple of two", "dicts") else 1
    living = [optim.SGD([old], lr=0.1, momentum=0.9)]
    living += [optim.SGD([nn.Parameter(torch.ones(1))]) for _ in range(several - 1)]
    old.grad = torch.ones(2)
    living[0].step()
    refill(living, FORMS[form](optim.SGD([new], lr=0.5)))
    assert parameters_of(living[0])[0] is new
    assert living[0].param_groups[0]["lr"] == 0.1
    assert old not in living[0].state


def test_names_in_the_groups_follow():
    linear = nn.Linear(2, 2)
    living = optim.SGD(linear.named_parameters())
    fresh = nn.Sequential(nn.Linear(2, 2, bias=False))
    refill([living], optim.SGD(fresh.named_parameters()))
    assert living.param_groups[0]["param_names"] == ["0.weight"]
    living.state_dict()


def test_other_optimizers_than_before_are_refused():
    one = [nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match="number of optimizers"):
        refill([optim.SGD(one)], [optim.SGD(one), optim.SGD(one)])
    with pytest.raises(ValueError, match="number of groups"):
        refill([optim.SGD(one)], optim.SGD([{"params": one}, {"params": [nn.Parameter(one[0])]}]))


def test_the_groups_are_not_changed_when_nothing_is():
    """The same optimizer, state and order when every parameter survives."""
    module = Classifier(net())
    run = trainer(max_epochs=1)
    run.fit(module, loader())
    (optimizer,) = run.optimizers
    before = list(parameters_of(optimizer)), dict(optimizer.state)
    refill([optimizer], module.configure_optimizers())
    assert all(a is b for a, b in zip(before[0], parameters_of(optimizer), strict=True))
    assert dict(optimizer.state) == before[1]
