"""What else a Trainer is asked for: short runs, later fits, lazy models, the other package."""

import lightning.pytorch as lit
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from classifiers import (
    QUIET,
    SIZE,
    Classifier,
    Learner,
    Probe,
    Scored,
    fit,
    loader,
    nonzero,
    perceptron,
    trainer,
)

from lightning_prune import Geometric, OneShot, Pruning, Steps

EVENTS = Steps({1: 0.6, 2: 0.3})
LEFT = [int(SIZE * keep) for keep in (0.6, 0.3)]


def pruning(schedule=EVENTS, **options):
    return Pruning("magnitude", schedule, verbose=False, **options)


def counting(_, module):
    return nonzero(module.parameters())


def test_a_twenty_epoch_run_ends_at_the_stated_keep():
    module, callback = Scored(), pruning(Geometric(first=2, every=3, events=5, keep=0.15))
    fit(module, callback, max_epochs=20)
    assert nonzero(module.parameters()) == int(0.15 * SIZE)
    assert callback.keep == int(0.15 * SIZE) / SIZE


def test_validation_and_test_after_fit_see_the_pruned_network():
    module = Scored()
    run = fit(module, pruning())
    weights = [p.detach().clone() for p in module.parameters()]
    seen = Probe("on_test_batch_end", counting)
    run.callbacks.append(seen)
    scores = run.validate(module, loader(32), verbose=False)[0]
    run.test(module, loader(32), verbose=False)
    assert scores["val_loss"] == pytest.approx(float(run.callback_metrics["test_loss"]))
    assert seen.seen == [LEFT[1]] * 2
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), weights, strict=True))


def test_the_callback_does_nothing_to_a_network_that_is_only_validated():
    module = Scored()
    run = trainer(pruning())
    run.validate(module, loader(32), verbose=False)
    run.predict(module, [torch.randn(4, 8)], return_predictions=False)
    assert nonzero(module.parameters()) == SIZE


def test_a_fast_run_of_one_batch_is_not_refused_and_prunes_nothing_later():
    module = Scored()
    fit(module, pruning(), fast_dev_run=True)
    assert nonzero(module.parameters()) == SIZE
    module = Scored()
    fit(module, pruning(OneShot(0, keep=0.3)), fast_dev_run=2)
    assert nonzero(module.parameters()) == LEFT[1]


SHORT = {
    "limit_train_batches": {"limit_train_batches": 2},
    "a share of the batches": {"limit_train_batches": 0.5},
    "overfit_batches": {"overfit_batches": 1},
    "max_steps": {"max_steps": 9, "max_epochs": -1},
    "both limits": {"max_steps": 10, "max_epochs": 3},
    "validation inside": {"val_check_interval": 2},
    "every second epoch": {"check_val_every_n_epoch": 2},
    "no sanity check": {"num_sanity_val_steps": 0},
    "a loader for every epoch": {"reload_dataloaders_every_n_epochs": 1},
}


@pytest.mark.parametrize("short", SHORT)
def test_short_runs_end_at_the_target(short):
    module, callback = Scored(), pruning()
    fit(module, callback, **SHORT[short])
    assert [event["epoch"] for event in callback.events] == [1, 2]
    assert nonzero(module.parameters()) == LEFT[1]


class Lazy(Classifier):
    def __init__(self):
        super().__init__(torch.nn.Identity())

    def configure_model(self):
        if isinstance(self.net, torch.nn.Identity):
            self.net = perceptron()


def test_a_model_that_is_made_in_configure_model_is_found():
    module = Lazy()
    fit(module, pruning())
    assert nonzero(module.parameters()) == LEFT[1]


def test_lazy_layers_are_refused_with_a_sentence():
    module = Classifier(torch.nn.Sequential(torch.nn.LazyLinear(12), torch.nn.Linear(12, 3)))
    module.configure_optimizers = lambda: torch.optim.SGD(module.net[1].parameters(), lr=0.1)
    with pytest.raises(ValueError, match="run one forward before"):
        fit(module, pruning())


def test_the_same_trainer_fits_on():
    module, callback = Classifier(), pruning(Steps({1: 0.6, 2: 0.3, 4: 0.2}))
    counts = Probe("on_train_batch_end", counting)
    run = trainer(callback, counts, max_epochs=5)
    run.fit_loop.max_epochs = 5
    stop = Probe("on_train_epoch_end", lambda t, _: setattr(t, "should_stop", t.current_epoch == 2))
    run.callbacks.append(stop)
    run.fit(module, loader())
    assert counts.seen[-1] == LEFT[1]
    run.callbacks.remove(stop)
    run.should_stop = False
    run.fit(module, loader())
    assert [event["epoch"] for event in callback.events] == [1, 2, 4]
    assert counts.seen == [SIZE] * 4 + [LEFT[0]] * 4 + [LEFT[1]] * 8 + [int(0.2 * SIZE)] * 4


def test_a_second_fit_with_the_same_callback_goes_on_with_the_zeros():
    module, callback = Classifier(), pruning()
    fit(module, callback)
    gone = [p == 0 for p in module.parameters()]
    counts = Probe("on_train_batch_end", counting)
    fit(module, callback, counts, max_epochs=4)
    assert counts.seen == [LEFT[1]] * 16
    assert all(torch.equal(p == 0, g) for p, g in zip(module.parameters(), gone, strict=True))


def test_a_second_fit_of_another_callback_prunes_further():
    module = Classifier()
    fit(module, pruning())
    fit(module, pruning(OneShot(1, keep=0.2)))
    assert nonzero(module.parameters()) == int(0.2 * SIZE)


@pytest.mark.parametrize("other", [perceptron(), torch.nn.Linear(8, 3)])
def test_the_same_callback_for_another_model_is_refused(other):
    callback = pruning()
    fit(Classifier(), callback)
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(ValueError, match="use a new Pruning for another model"):
        fit(Classifier(other), callback)
    assert all(torch.equal(p, b) for p, b in zip(other.parameters(), before, strict=True))


class Bare(pl.LightningModule):
    """No forward."""

    def __init__(self):
        super().__init__()
        self.net = perceptron()

    def training_step(self, batch):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class OtherBare(Learner, lit.LightningModule):
    """No forward either."""


class OtherWhole(OtherBare):
    def forward(self, x):
        return self.net(x)


MACS = 8 * 12 + 12 * 8 + 8 * 6 + 6 * 3


def test_a_module_without_forward_is_traced_through_its_training_step():
    module, callback = Bare(), pruning()
    fit(module, callback)
    assert callback.events[-1]["macs"] == MACS


@pytest.mark.parametrize("kind", [OtherBare, OtherWhole])
def test_the_other_package_trains_logs_and_saves(kind, tmp_path):
    def other_trainer(callback):
        saver = lit.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        options = {**QUIET, "enable_checkpointing": True, "log_every_n_steps": 1}
        options["logger"] = lit.loggers.CSVLogger(tmp_path)
        return lit.Trainer(callbacks=[callback, saver], max_epochs=3, **options)

    module, callback = kind(), pruning()
    run = other_trainer(callback)
    run.fit(module, loader())
    assert nonzero(module.parameters()) == LEFT[1]
    assert run.callback_metrics["prune/keep"] == pytest.approx(LEFT[1] / SIZE)
    assert callback.events[-1]["macs"] == MACS
    written = (tmp_path / run.logger.log_dir / "metrics.csv").read_text()
    assert "prune/keep" in written.splitlines()[0]
    second, more = kind(), other_trainer(pruning())
    more.fit(second, loader(), ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True)
    for ours, theirs in zip(module.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)
