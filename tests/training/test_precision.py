"""Mixed precision, accumulation and clipping: the sparse network is the one that is trained."""

import pytest
import torch
from classifiers import SIZE, Classifier, Probe, fit, loader, nonzero, trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.plugins import MixedPrecision

from lightning_prune import OneShot, Pruning, Steps

EVENTS = Steps({1: 0.6, 2: 0.3})


def pruning(schedule=EVENTS, **options):
    return Pruning("magnitude", schedule, verbose=False, **options)


def scaled():
    """Mixed half precision on the CPU, which the Trainer would replace; its loss is scaled."""
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    return {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}


PRECISIONS = {name: {"precision": name} for name in ("bf16-mixed", "bf16-true", "64-true")}


@pytest.mark.parametrize("precision", [*PRECISIONS, "16-mixed"])
def test_the_target_is_exact_in_every_precision(precision):
    module = Classifier(optimizer=lambda p: torch.optim.Adam(p, lr=1e-2, eps=1e-6))
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    before = [p.detach().clone() for p in module.parameters()]
    callback = pruning()
    fit(module, callback, counts, **PRECISIONS.get(precision) or scaled())
    assert counts.seen[4:] == [int(0.6 * SIZE)] * 4 + [int(0.3 * SIZE)] * 4
    for parameter, start in zip(module.parameters(), before, strict=True):
        assert parameter.isfinite().all()
        assert not torch.equal(parameter.to(start.dtype), start)


def test_half_precision_weights_are_refused():
    with pytest.raises(ValueError, match=r"16-true.*bf16-mixed"):
        fit(Classifier(), pruning(), precision="16-true")


class Overflows(Classifier):
    """Its gradients are infinite in the first batch of the epoch of the event."""

    def on_after_backward(self):
        if self.current_epoch == 1 and self.trainer.fit_loop.batch_idx == 0:
            self.net[0].weight.grad.fill_(torch.inf)


def test_a_step_that_the_scaler_leaves_out_changes_no_zero():
    module, callback = Overflows(), pruning()
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    fit(module, callback, counts, **scaled())
    assert counts.seen[4:8] == [int(0.6 * SIZE)] * 4
    assert all(p.isfinite().all() for p in module.parameters())


def test_events_by_step_wait_for_the_end_of_an_accumulation():
    """8 batches an epoch, 3 a step: steps end after batches 2, 5 and 7."""
    seen = Probe(
        "on_train_batch_start",
        lambda t, m: (t.current_epoch, t.fit_loop.batch_idx, nonzero(m.parameters())),
    )
    callback = pruning(Steps({1: 0.6, 4: 0.3}, unit="step"))
    module = Classifier()
    fit(module, callback, seen, data=loader(128), accumulate_grad_batches=3, max_epochs=2)
    first, second = int(0.6 * SIZE), int(0.3 * SIZE)
    expected = [SIZE] * 3 + [first] * 5 + [first] * 3 + [second] * 5
    assert [count for *_, count in seen.seen] == expected
    assert [(e["epoch"], e["step"]) for e in callback.events] == [(0, 1), (1, 4)]


def test_accumulated_gradients_are_those_of_the_sparse_network():
    """One step over four batches equals one step over one batch of their size."""
    results = []
    for size, batches in ((16, 4), (64, 1)):
        torch.manual_seed(0)
        module = Classifier(optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
        options = {"accumulate_grad_batches": batches, "max_epochs": 3}
        fit(module, pruning(), data=loader(64, batch_size=size), **options)
        results.append(list(module.parameters()))
        assert nonzero(module.parameters()) == int(0.3 * SIZE)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_accumulation_by_a_callback_does_not_refuse_a_schedule_that_fits():
    """One step an epoch, which the Trainer's own factor does not say."""
    callback = pruning(EVENTS)
    fit(Classifier(), callback, GradientAccumulationScheduler({0: 4}), max_steps=3, max_epochs=-1)
    assert [(e["epoch"], e["step"]) for e in callback.events] == [(1, 1), (2, 2)]


class Clipped(Classifier):
    """Keeps the weights before the step, and their dense gradients."""

    def __init__(self):
        super().__init__(optimizer=lambda p: torch.optim.SGD(p, lr=0.5))
        self.seen = []

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        weights = list(self.parameters())
        grads = torch.autograd.grad(loss, weights, retain_graph=True)
        self.seen.append([(w.detach().clone(), g) for w, g in zip(weights, grads, strict=True)])
        return loss


class Manual(Clipped):
    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        self.clip_gradients(optimizer, 0.05, "norm")
        optimizer.step()


@pytest.mark.parametrize("kind", [Clipped, Manual])
def test_removed_weights_do_not_count_in_the_norm_that_is_clipped(kind):
    module = kind()
    after = Probe("on_train_batch_end", lambda _, m: [p.detach().clone() for p in m.parameters()])
    clip = {"gradient_clip_val": 0.05} if kind is Clipped else {}
    fit(module, pruning(OneShot(1, keep=0.3)), after, max_epochs=2, **clip)
    for weights, before in zip(after.seen[4:], module.seen[4:], strict=True):
        kept = [(w != 0).float() for w, _ in before]
        grads = [g * k for (_, g), k in zip(before, kept, strict=True)]
        dense = torch.cat([g.flatten() for _, g in before]).norm()
        norm = torch.cat([g.flatten() for g in grads]).norm()
        assert norm > 0.06  # so that it is clipped
        assert dense > 1.05 * norm  # and the removed weights would have counted
        for now, (start, _), grad in zip(weights, before, grads, strict=True):
            torch.testing.assert_close(now, start - 0.5 * grad * 0.05 / (norm + 1e-6))


def test_clipping_by_value_leaves_zeros_alone():
    module = Classifier()
    run = trainer(pruning(), gradient_clip_val=0.01, gradient_clip_algorithm="value")
    run.fit(module, loader())
    assert nonzero(module.parameters()) == int(0.3 * SIZE)
