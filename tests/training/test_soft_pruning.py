"""hold=False: what an event removes may come back, until the last event."""

from functools import partial

import pytest
import torch
from classifiers import (
    SIZE,
    Classifier,
    Probe,
    convolutional,
    fit,
    loader,
    nonzero,
    trainer,
)
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_prune import OneShot, Pruning, Steps
from lightning_prune.cli.experiment import Experiment
from lightning_prune.configs import compose

EVENTS = Steps({1: 0.5, 2: 0.5, 3: 0.5})
TARGET = int(0.5 * SIZE)


def pruning(schedule=EVENTS, method="magnitude", **options):
    return Pruning(method, schedule, hold=False, verbose=False, **options)


def test_weights_come_back_between_events_and_not_after_the_last():
    module, callback = Classifier(), pruning()
    at_event = Probe("on_train_batch_start", lambda _, m: nonzero(m.parameters()))
    after_step = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    fit(module, callback, at_event, after_step, max_epochs=5)
    assert [at_event.seen[4 * event] for event in (1, 2, 3)] == [TARGET] * 3
    assert all(count > TARGET for count in after_step.seen[4:12])
    assert after_step.seen[12:] == [TARGET] * 8
    assert [event["keep"] for event in callback.events] == [TARGET / SIZE] * 3


@pytest.mark.parametrize("method", ["magnitude", "magnitude_layerwise"])
def test_what_came_back_competes_again(method):
    """A removed weight that grows between two events is kept by the second, in another's place."""
    places = []

    def grow(trainer, module):
        if trainer.current_epoch == 1 and not places:
            places.append((module.net[0].weight == 0).nonzero()[0].tolist())
        if trainer.current_epoch == 2:
            with torch.no_grad():
                module.net[0].weight[tuple(places[0])] = 5.0

    module = Classifier()
    counts = Probe("on_train_batch_start", lambda _, m: nonzero(m.parameters()))
    fit(module, pruning(method=method), counts, Probe("on_train_batch_start", grow), max_epochs=4)
    assert TARGET - 4 <= counts.seen[12] <= TARGET  # layer by layer to one weight
    assert module.net[0].weight[tuple(places[0])] > 1


def test_momentum_of_what_may_come_back_is_kept():
    def momentum(trainer, module):
        states = trainer.optimizers[0].state
        return sum(
            int(state["momentum_buffer"][p == 0].count_nonzero()) for p, state in states.items()
        )

    seen = Probe("on_train_batch_start", momentum)
    fit(Classifier(), pruning(), seen, max_epochs=4)
    assert seen.seen[4] > 0
    assert seen.seen[8] > 0
    assert seen.seen[12] == 0


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
@pytest.mark.parametrize(("epoch", "held"), [(1, False), (3, True)])
def test_a_resumed_run_is_as_soft_as_the_first(epoch, held, tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    whole = Classifier()
    fit(whole, pruning(), saver, max_epochs=5, enable_checkpointing=True)
    module, counts = Classifier(), Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    run = trainer(pruning(), counts, max_epochs=5)
    run.fit(module, loader(), ckpt_path=tmp_path / f"epoch={epoch}.ckpt", weights_only=True)
    assert (counts.seen[0] == TARGET) is held
    for ours, theirs in zip(module.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_single_event_is_the_last_and_holds():
    module = Classifier()
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    fit(module, pruning(OneShot(1, keep=0.5)), counts)
    assert counts.seen[4:] == [TARGET] * 8


def rows(module):
    """Which filters of the first convolution are zero."""
    return (module.net[0].weight.flatten(1) == 0).all(1)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_filters_come_back_through_their_gradient(momentum):
    """Their norm and their readers wait for them; with those at zero nothing would move."""
    optimizer = partial(torch.optim.SGD, lr=0.05, momentum=momentum)
    module = Classifier(convolutional(), optimizer)
    torch.nn.init.constant_(module.net[1].bias, 0.5)  # a closed rectifier has no gradient
    gone = Probe("on_train_batch_start", lambda _, m: int(rows(m).sum()))
    back = Probe("on_train_batch_end", lambda _, m: int(rows(m).sum()))
    norms = Probe("on_train_batch_start", lambda _, m: nonzero([m.net[1].weight]))
    data = loader(shape=(1, 8, 8))
    fit(module, pruning(method="filter_norm"), gone, back, norms, data=data, max_epochs=5)
    assert all(gone.seen[4 * event] > 0 for event in (1, 2, 3))
    assert back.seen[4:12] == [0] * 8  # at once
    assert norms.seen[:12] == [8] * 12
    assert back.seen[12:] == [gone.seen[12]] * 8  # held after the last event, norms too
    assert norms.seen[12:] == [8 - gone.seen[12]] * 8


def test_soft_filter_pruning_from_the_command_line(tmp_path):
    """Digits: between events filters come back, after the last one the target holds."""
    cfg = compose(
        "train", "data=digits", "method=filter_norm", "hold=false", "rewind=none", "logger=none",
        "schedule=constant", "schedule.first=1", "schedule.every=1", "schedule.events=2",
        "schedule.keep=0.5", "epochs=3", "optim.optimizer.momentum=0",
    )  # fmt: skip
    experiment = Experiment(cfg, tmp_path)
    module, callback = experiment.task(), experiment.pruning(experiment.pruned)
    callback.verbose = False
    counts = Probe("on_train_batch_end", lambda _, m: nonzero(m.parameters()))
    run = experiment.trainer(experiment.pruned, [callback, counts])
    run.fit(module, datamodule=experiment.data())
    size = sum(p.numel() for p in module.parameters())
    batches = len(counts.seen) // 3
    assert [event["epoch"] for event in callback.events] == [1, 2]
    assert min(counts.seen[batches : 2 * batches]) > 0.75 * size
    assert max(counts.seen[2 * batches :]) <= 0.5 * size
    left = callback.events[-1]["left"]
    assert 0.98 * left < nonzero(module.parameters()) <= left


def test_the_command_line_holds_unless_told_otherwise(tmp_path):
    experiment = Experiment(compose("train"), tmp_path)
    assert experiment.pruning(experiment.pruned).hold
