"""hold=False: what an event removes may come back, until the last event."""

import pytest
import torch
from classifiers import SIZE, Classifier, Probe, fit, loader, nonzero, trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_prune import OneShot, Pruning, Steps

EVENTS = Steps({1: 0.5, 2: 0.5, 3: 0.5})
TARGET = int(0.5 * SIZE)


def pruning(schedule=EVENTS, method="magnitude", **options):
    return Pruning(method, schedule, hold=False, verbose=False, **options)


def zeros(_, module):
    return torch.cat([(p == 0).flatten() for p in module.parameters()])


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
