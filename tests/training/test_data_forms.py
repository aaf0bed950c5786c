"""Data of every form: streams, dicts, several loaders, unequal batches."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from classifiers import SIZE, Classifier, Probe, fit, loader, nonzero, samples, trainer
from pytorch_lightning.utilities import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_prune import Method, OneShot, Pruning, Steps
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import ActivationCriterion, GradientCriterion
from lightning_prune.structures import Weights

EVENTS = Steps({1: 0.6, 2: 0.3})
MACS = 8 * 12 + 12 * 8 + 8 * 6 + 6 * 3


def pruning(method="magnitude", schedule=EVENTS, **options):
    return Pruning(method, schedule, verbose=False, **options)


class Stream(IterableDataset):
    """Counts how often it was begun and how many samples were read."""

    begun, read = 0, 0

    def __iter__(self):
        self.begun += 1
        for x, y in samples():
            self.read += 1
            yield x, y


class Batches:
    """No DataLoader at all."""

    def __iter__(self):
        return iter(loader())


class Dicts(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        x, y = samples()[index]
        return {"x": x, "y": y}


class OfDicts(Classifier):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch["x"]), batch["y"])


class Keywords(OfDicts):
    """Its forward takes what the loader gives, and is what is traced."""

    def forward(self, x, y=None):
        return self.net(x)


class OfTwo(Classifier):
    """Batches from two loaders, by name."""

    def training_step(self, batch, batch_idx):
        losses = [F.cross_entropy(self.net(x), y) for x, y in (batch["one"], batch["two"])]
        return losses[0] + 0.1 * losses[1]


class OfAList(Classifier):
    def training_step(self, batch, batch_idx):
        return sum(F.cross_entropy(self.net(x), y) for x, y in batch)


def two():
    return {"one": loader(), "two": loader(48, batch_size=12)}


FORMS = {
    "a stream": (Classifier, lambda: DataLoader(Stream(), batch_size=16)),
    "an iterable of batches": (Classifier, Batches),
    "dicts": (OfDicts, lambda: DataLoader(Dicts(), batch_size=16)),
    "keywords": (Keywords, lambda: DataLoader(Dicts(), batch_size=16)),
    "a dict of loaders": (OfTwo, two),
    "a list of loaders": (OfAList, lambda: list(two().values())),
    "combined loaders": (OfTwo, lambda: CombinedLoader(two(), "max_size_cycle")),
    "the shorter of two": (OfAList, lambda: CombinedLoader(list(two().values()), "min_size")),
    "a last batch of one": (Classifier, lambda: loader(65)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_to_the_target_and_is_traced(form):
    kind, data = FORMS[form]
    module, callback = kind(), pruning()
    fit(module, callback, data=data())
    assert nonzero(module.parameters()) == int(0.3 * SIZE)
    assert callback.events[-1]["macs"] == MACS


def test_a_stream_is_begun_once_an_epoch_and_read_as_without_pruning():
    counts = []
    for callbacks in ((), (pruning(),)):
        stream = Stream()
        fit(Classifier(), *callbacks, data=DataLoader(stream, batch_size=16))
        counts.append((stream.begun, stream.read))
    assert counts[0] == counts[1] == (3, 192)


def test_a_stream_is_not_begun_for_masks_that_go_on():
    module, callback = Classifier(), pruning()
    fit(module, callback, data=DataLoader(Stream(), batch_size=16))
    stream = Stream()
    fit(module, callback, data=DataLoader(stream, batch_size=16), max_epochs=4)
    assert stream.begun == 4


def test_an_example_of_the_module_is_used_before_data_are():
    module = Classifier()
    module.example_input_array = torch.randn(3, 8)
    callback = pruning()
    fit(module, callback, data=DataLoader(Stream(), batch_size=16))
    assert callback.events[-1]["macs"] == MACS


class Inputs(ActivationCriterion):
    """Weight times the sum of what it is multiplied with."""

    batches: ClassVar[list] = []

    def observe(self, layer, value):
        self.record(layer, value.detach().abs().flatten(0, -2).sum(0))
        if layer.name == "net.0":
            self.batches.append(len(value))

    def score(self, layer, structure):
        return (layer.weight.abs() * self.seen[layer.name]).flatten()


class Gradients(GradientCriterion):
    def score(self, layer, structure):
        return (layer.weight * self.seen[layer.name]).abs().flatten()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("criterion", [Inputs, Gradients])
def test_criteria_that_watch_see_batches_in_the_form_of_the_data(form, criterion):
    kind, data = FORMS[form]
    module = kind()
    method = Method(criterion(), Weights(), Threshold())
    fit(module, pruning(method, batches=2), data=data())
    assert nonzero(module.parameters()) == int(0.3 * SIZE)


@pytest.mark.parametrize("data", [lambda: loader(shuffle=True), FORMS["a stream"][1], Batches])
def test_looking_leaves_data_order_and_random_streams_as_they_are(data):
    """keep=1 and a criterion that watches: bit for bit the training without pruning."""
    looks = pruning(Method(Gradients(), Weights(), Threshold()), OneShot(1, keep=1.0))
    results = []
    for callbacks in ((), (looks,)):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 12), nn.Dropout(0.5), nn.Linear(12, 3))
        module = Classifier(net)
        fit(module, *callbacks, data=data())
        results.append([*module.parameters(), torch.rand(3)])
    assert len(looks.events) == 1
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_criterion_that_needs_gradients_is_refused_where_the_module_steps_by_itself():
    module = Classifier()
    module.automatic_optimization = False
    method = Method(Gradients(), Weights(), Threshold())
    run = trainer(pruning(method))
    with pytest.raises(ValueError, match=r"manual optimization.*loss="):
        run.fit(module, loader())


def test_the_data_are_watched_in_the_batches_that_were_asked_for():
    Inputs.batches.clear()
    watch = Probe("on_train_start", lambda *_: None)
    method = Method(Inputs(), Weights(), Threshold())
    fit(Classifier(), watch, pruning(method, OneShot(1, keep=0.5), batches=3))
    assert Inputs.batches == [16, 16, 16]
