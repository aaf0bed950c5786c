"""Manual optimization: one optimizer, two that take turns, and those that are not Lightning's."""

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from classifiers import SIZE, Classifier, Probe, fit, loader, nonzero, perceptron, trainer
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from lightning_prune import LayerFilter, Pruning, Steps

EVENTS = Steps({1: 0.6, 2: 0.3})


def pruning(schedule=EVENTS, **options):
    return Pruning("magnitude", schedule, verbose=False, **options)


class Rivals(pl.LightningModule):
    """Two networks with an optimizer each; the second steps in every second batch only."""

    automatic_optimization = False

    def __init__(self, every=1):
        super().__init__()
        self.maker = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 8))
        self.judge = nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 1))
        self.every = every

    def training_step(self, batch, batch_idx):
        judge, maker = self.optimizers()
        made = self.maker(torch.randn(len(batch[0]), 4))
        self.toggle_optimizer(judge)
        judge.zero_grad()
        real, false = self.judge(batch[0]), self.judge(made.detach())
        self.manual_backward(F.softplus(-real).mean() + F.softplus(false).mean())
        judge.step()
        self.untoggle_optimizer(judge)
        if batch_idx % self.every == 0:
            self.toggle_optimizer(maker)
            maker.zero_grad()
            self.manual_backward(F.softplus(-self.judge(made)).mean())
            maker.step()
            self.untoggle_optimizer(maker)

    def configure_optimizers(self):
        return [
            torch.optim.Adam(self.judge.parameters(), lr=1e-2, betas=(0.5, 0.9)),
            torch.optim.Adam(self.maker.parameters(), lr=1e-2, betas=(0.5, 0.9)),
        ]


@pytest.mark.parametrize("every", [1, 2])
def test_two_optimizers_hold_the_zeros_of_both_networks(every):
    module = Rivals(every)
    size = sum(p.numel() for p in module.parameters())
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    callback = pruning()
    fit(module, callback, counts)
    assert counts.seen == [c for c in (size, int(0.6 * size), int(0.3 * size)) for _ in range(4)]
    assert all(row["nonzero"] < row["params"] for row in callback.events[-1]["layers"])


def test_a_step_of_the_schedule_is_a_batch_and_not_a_step_of_each_optimizer():
    callback = pruning(Steps({2: 0.6, 7: 0.3}, unit="step"))
    place = Probe("on_train_batch_start", lambda t, m: (len(callback.events), t.global_step))
    fit(Rivals(), callback, place)
    assert [done for done, _ in place.seen] == [0] * 2 + [1] * 5 + [2] * 5
    assert place.seen[-1] == (2, 22)


def test_each_network_may_have_a_pruning_of_its_own():
    module = Rivals()
    size = sum(p.numel() for p in module.parameters())
    one = pruning(Steps({1: 0.9}), layers=LayerFilter(include="maker.*"))
    other = pruning(Steps({2: 0.8}), layers=LayerFilter(include="judge.*"))
    fit(module, one, other)
    parts = [nonzero(part.parameters()) for part in (module.maker, module.judge)]
    sizes = [sum(p.numel() for p in part.parameters()) for part in (module.maker, module.judge)]
    assert parts[0] == int(0.9 * size) - sizes[1]
    assert parts[1] == int(0.8 * size) - sizes[0]


class ByHand(Classifier):
    """The optimizer itself, without Lightning's wrapper, so that no hook is called before."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        self.manual_backward(F.cross_entropy(self.net(batch[0]), batch[1]))
        optimizer.step()


def test_a_raw_optimizer_in_manual_mode_holds_the_zeros_and_sees_no_gradient_of_theirs():
    module = ByHand()
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    grads = Probe(
        "on_train_batch_end", lambda _, m: nonzero([p.grad[p == 0] for p in m.parameters()])
    )
    fit(module, pruning(), counts, grads)
    assert counts.seen == [c for c in (SIZE, int(0.6 * SIZE), int(0.3 * SIZE)) for _ in range(4)]
    assert grads.seen == [0] * 12


class Own(Classifier):
    """An optimizer that Lightning never hears of."""

    automatic_optimization = False

    def __init__(self):
        super().__init__()
        self.own = torch.optim.SGD(self.net.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        self.own.zero_grad()
        self.manual_backward(F.cross_entropy(self.net(batch[0]), batch[1]))
        self.own.step()

    def configure_optimizers(self):
        return None


@pytest.mark.filterwarnings("ignore:.*configure_optimizers.*returned.*None")
def test_an_optimizer_that_the_trainer_does_not_know_is_refused():
    with pytest.raises(ValueError, match="configure_optimizers"):
        fit(Own(), pruning())


class Skips(Classifier):
    """Steps in every third batch only."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        self.manual_backward(F.cross_entropy(self.net(batch[0]), batch[1]) / 3)
        if (batch_idx + 1) % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()


def test_events_by_step_wait_for_a_step_in_manual_mode():
    """4 batches an epoch, a step after the third of each; the gradients of the fourth go on."""
    callback = pruning(Steps({1: 0.6, 2: 0.3}, unit="step"))
    counts = Probe("on_train_batch_start", lambda _, m: nonzero(m.parameters()))
    fit(Skips(perceptron()), callback, counts)
    first, second = int(0.6 * SIZE), int(0.3 * SIZE)
    assert counts.seen == [SIZE] * 3 + [first] * 4 + [second] * 5


def test_a_module_without_forward_in_manual_mode_is_not_trained_by_the_count_of_its_operations():
    """There is no forward to trace, and training_step would take optimizer steps."""
    module, steps = Rivals(), []
    module.configure_optimizers = lambda: [
        torch.optim.SGD(part.parameters(), lr=0.1) for part in (module.judge, module.maker)
    ]
    callback = pruning()
    run = trainer(callback)
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    run.fit(module, loader())
    hook.remove()
    assert len(steps) == 24
    assert callback.events[-1]["macs"] is None
    assert any("manual" in note for note in callback.events[-1]["notes"])
