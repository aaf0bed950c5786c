"""Pruning without a Trainer by criteria that look at data."""

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import ActivationCriterion, GradientCriterion
from lightning_prune.structures import Filters, Weights


@dataclass(frozen=True)
class Activity(ActivationCriterion):
    """Largest absolute input, times |weight|."""

    reduction = "max"

    def observe(self, layer, value):
        self.record(layer, value.abs().amax(0))

    def score(self, layer, structure):
        return structure.units(layer, layer.weight.abs() * self.seen[layer.name]).sum(1)


@dataclass(frozen=True)
class Saliency(GradientCriterion):
    """|weight * gradient|, the gradients of the batches added."""

    def score(self, layer, structure):
        weight, gradient = layer.weight, self.seen[layer.name]
        return (structure.units(layer, weight) * structure.units(layer, gradient)).abs().sum(1)


def linear():
    """Every weight is 1, so that the data decide."""
    model = nn.Linear(4, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


INPUTS = [torch.tensor([[1.0, 5.0, 0.0, 3.0]]), torch.tensor([[4.0, -2.0, 1.0, -3.0]])]
# largest absolute inputs: 4, 5, 1, 3; sums: 5, 3, 1, 0


def test_a_list_of_loaders_gives_the_batches_of_the_first():
    criterion = Activity()
    method = Method(criterion, Weights(), Threshold())
    loaders = [DataLoader(torch.cat(INPUTS), batch_size=1), DataLoader(torch.zeros(2, 4))]
    prune(linear(), method, 0.5, loader=loaders)
    assert criterion.seen[""].tolist() == [4, 5, 1, 3]


def test_activations_are_combined_over_the_batches_by_the_declared_maximum():
    model, criterion = linear(), Activity()
    prune(model, Method(criterion, Weights(), Threshold()), 0.5, loader=INPUTS)
    assert criterion.seen[""].tolist() == [4, 5, 1, 3]
    assert model.weight.tolist() == [[1, 1, 0, 0]]


def test_gradients_are_combined_over_the_batches_by_the_declared_sum():
    model, criterion = linear(), Saliency()
    method = Method(criterion, Weights(), Threshold())
    prune(model, method, 0.5, loader=INPUTS, loss=lambda m, x: m(x).sum())
    assert criterion.seen[""].tolist() == [[5, 3, 1, 0]]
    assert model.weight.tolist() == [[1, 1, 0, 0]]


def test_gradients_may_be_combined_by_their_maximum():
    class Peak(Saliency):
        reduction = "max"

    criterion = Peak()
    method = Method(criterion, Weights(), Threshold())
    prune(linear(), method, 0.5, loader=INPUTS, loss=lambda m, x: m(x).sum())
    assert criterion.seen[""].tolist() == [[4, 5, 1, 3]]


def test_as_many_batches_are_watched_as_asked_for_and_old_ones_are_forgotten():
    criterion = Activity()
    method = Method(criterion, Weights(), Threshold())
    for _ in range(2):
        prune(linear(), method, 0.5, loader=INPUTS[::-1], batches=1)
    assert criterion.seen[""].tolist() == [4, 2, 1, 3]


@pytest.mark.parametrize("structure", [Weights(), Filters()], ids=repr)
def test_looking_at_data_leaves_no_trace(structure):
    """Statistics, modes and random streams; the loader is read without being moved."""
    labels = torch.arange(16) % 5
    data = DataLoader(TensorDataset(torch.randn(16, 3, 8, 8), labels), 4, shuffle=True)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(),
        nn.Linear(288, 5),
    )  # fmt: skip
    model[1].eval()
    before, stream = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    method = Method(Saliency(), structure, Threshold())
    loss = lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
    report = prune(model, method, 1.0, loader=data, loss=loss)
    assert report.keep == 1.0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), stream)
    assert [m.training for m in model] == [i != 1 for i in range(len(model))]
    assert prune(model, method, 0.5, loader=data, loss=loss).keep <= 0.5


class Stream(IterableDataset):
    """Cannot be read by index."""

    def __iter__(self):
        return iter(torch.cat(INPUTS))


@pytest.mark.parametrize(
    "data",
    [
        DataLoader(torch.cat(INPUTS), batch_size=2),
        DataLoader(INPUTS, batch_size=None),  # the samples are batches already
        DataLoader(Stream(), batch_size=1),
        (batch for batch in INPUTS),
    ],
    ids=["loader", "loader of batches", "stream", "generator"],
)
def test_batches_come_in_many_forms(data):
    criterion = Activity()
    method = Method(criterion, Weights(), Threshold())
    prune(linear(), method, 0.5, loader=data, example=INPUTS[0])
    assert criterion.seen[""].tolist() == [4, 5, 1, 3]


@pytest.mark.parametrize("batch_size", [2, None])
def test_an_example_is_taken_from_the_data(batch_size):
    for data in (DataLoader(Stream(), batch_size=2), DataLoader(INPUTS, batch_size=batch_size)):
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        assert prune(net, "filter_norm", 0.6, loader=data).macs == 48


def test_criteria_that_need_data_ask_for_it():
    with pytest.raises(ValueError, match=r"Activity needs data: give loader=\.\.\."):
        prune(linear(), Method(Activity(), Weights(), Threshold()), 0.5)
    with pytest.raises(ValueError, match=r"Saliency needs gradients: give loss="):
        prune(linear(), Method(Saliency(), Weights(), Threshold()), 0.5, loader=INPUTS)


def test_scores_that_are_nan_are_refused():
    broken = [torch.tensor([[1.0, torch.nan, 0.0, 3.0]])]
    with pytest.raises(ValueError, match=r"are not numbers.*data that were watched"):
        prune(linear(), Method(Activity(), Weights(), Threshold()), 0.5, loader=broken)
