"""Learning-rate and batch-size finders look at the dense network and leave no trace."""

import pytest
import torch
from classifiers import SIZE, Classifier, Probe, nonzero, samples, trainer
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder
from pytorch_lightning.tuner import Tuner
from torch.utils.data import DataLoader

from lightning_prune import Pruning, Rewind, Steps

EVENTS = Steps({1: 0.6, 2: 0.3})
LEFT = [int(SIZE * keep) for keep in (0.6, 0.3)]
EXPECTED = [(0, SIZE), (1, LEFT[0]), (2, LEFT[1])]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*will be overwritten.*"),
    pytest.mark.filterwarnings("ignore:.*LR scheduler.*"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*"),
]


class Tuned(Classifier):
    def __init__(self):
        super().__init__()
        self.lr, self.batch_size = 0.05, 8

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

    def train_dataloader(self):
        return DataLoader(samples(), batch_size=self.batch_size)


def pruning(schedule=EVENTS, **options):
    return Pruning("magnitude", schedule, verbose=False, **options)


def counts():
    return Probe("on_train_batch_end", lambda t, m: (t.current_epoch, nonzero(m.parameters())))


def check(module, callback, seen):
    assert sorted(set(seen.seen)) == EXPECTED
    assert [event["epoch"] for event in callback.events] == [1, 2]
    assert nonzero(module.parameters()) == LEFT[1]


@pytest.mark.slow
@pytest.mark.parametrize("rewind", [None, Rewind(to=0, weights=True)])
def test_the_tuner_before_a_fit(rewind, tmp_path):
    module, callback, seen = Tuned(), pruning(rewind=rewind), counts()
    before = [p.detach().clone() for p in module.parameters()]
    run = trainer(callback, seen, default_root_dir=tmp_path)
    tuner = Tuner(run)
    tuner.lr_find(module, num_training=20, min_lr=1e-4, max_lr=0.1)
    tuner.scale_batch_size(module, max_trials=2, init_val=8)
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))
    assert callback.events == []
    run.fit(module)
    check(module, callback, seen)


FINDERS = {
    "rate": lambda: LearningRateFinder(num_training_steps=20, min_lr=1e-4, max_lr=0.1),
    "batch size": lambda: BatchSizeFinder(max_trials=2, init_val=8),
}


@pytest.mark.slow
@pytest.mark.parametrize("first", ["finder", "pruning"])
@pytest.mark.parametrize("finder", FINDERS)
def test_the_finders_as_callbacks(finder, first, tmp_path):
    module, callback, seen = Tuned(), pruning(), counts()
    both = [FINDERS[finder](), callback]
    run = trainer(*both if first == "finder" else both[::-1], seen, default_root_dir=tmp_path)
    run.fit(module)
    check(module, callback, seen)


class Again(LearningRateFinder):
    """Looks again in the middle of training, between the events and after them."""

    def on_fit_start(self, *_):
        pass

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch in (2, 3):
            self.lr_find(trainer, module)


@pytest.mark.parametrize("last", [1, 4])
def test_a_search_in_mid_training_leaves_the_zeros_where_they_are(last, tmp_path):
    module, seen = Tuned(), counts()
    callback = pruning(Steps({1: 0.6, last: 0.6 if last == 1 else 0.3}))
    finder = Again(num_training_steps=10, min_lr=1e-4, max_lr=1e-2)
    run = trainer(callback, finder, seen, default_root_dir=tmp_path, max_epochs=6)
    run.fit(module)
    expected = [(e, SIZE if e == 0 else LEFT[last == 4 and e > 3]) for e in range(6)]
    assert sorted(set(seen.seen)) == expected
    assert [event["epoch"] for event in callback.events] == sorted({1, last})
    assert callback.masks.held  # so that the check at the end sees them


def test_the_schedule_of_steps_does_not_count_those_of_the_search(tmp_path):
    module, callback = Tuned(), pruning(Steps({3: 0.6}, unit="step"))
    finder = LearningRateFinder(num_training_steps=20, min_lr=1e-4, max_lr=0.1)
    run = trainer(callback, finder, default_root_dir=tmp_path, max_epochs=1)
    run.fit(module)
    assert [event["step"] for event in callback.events] == [3]
