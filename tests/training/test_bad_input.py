"""What cannot end well is refused in one sentence, before training where it can be known."""

import math
import re
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from classifiers import Classifier, Probe, convolutional, fit, loader
from refusals import pruning, refused, said
from torch import nn

from lightning_prune import LayerFilter, Method, OneShot, Steps
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import Criterion
from lightning_prune.structures import Weights
from lightning_prune.training.checks import check_strategy
from lightning_prune.training.optimizers import after_every_step


def test_an_unknown_method():
    with pytest.raises(ValueError, match="no method 'magnitud'") as caught:
        pruning(method="magnitud")
    assert "magnitude, magnitude_clean, magnitude_layerwise" in said(caught)


FILTERS = {
    "include": (LayerFilter(include=["net.0", "head*"]), "include pattern 'head\\*' matches no"),
    "exclude": (LayerFilter(exclude="stem"), "exclude pattern 'stem' matches no"),
    "types": (LayerFilter(types="Conv3d"), "no prunable layer is of type 'Conv3d'"),
    "together": (LayerFilter(include="net.0", exclude="net.0"), "no prunable layer was found"),
}


@pytest.mark.parametrize("which", FILTERS)
def test_patterns_that_match_nothing(which):
    layers, expected = FILTERS[which]
    assert re.search(expected, refused(pruning(layers=layers)), re.IGNORECASE)


def test_a_network_without_layers():
    module = Classifier(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(8)))
    assert "No prunable layer was found" in refused(pruning(), module)
    frozen = Classifier()
    frozen.net.requires_grad_(False)
    assert "trainable" in refused(pruning(), frozen)


def test_weights_that_are_computed():
    module = Classifier()
    nn.utils.parametrizations.weight_norm(module.net[0])
    assert "net.0" in refused(pruning(), module)


@pytest.mark.parametrize("epoch", [0, 1])
def test_weights_that_are_no_numbers(epoch):
    module = Classifier()
    with torch.no_grad():
        module.net[2].weight[0, 0] = math.nan
    assert "'net.2' are not numbers" in refused(pruning(OneShot(epoch, keep=0.5)), module)


def test_weights_that_cease_to_be_numbers_are_refused_at_the_event_and_left():
    def spoil(_, module):
        with torch.no_grad():
            module.net[2].weight[0, 0] = math.nan

    module, callback = Classifier(), pruning()
    with pytest.raises(ValueError, match="not numbers") as caught:
        fit(module, callback, Probe("on_train_epoch_end", spoil))
    assert "nothing was pruned" in said(caught)
    assert callback.events == []
    assert not any((p == 0).any() for p in module.parameters())


class Broken(Criterion):
    def score(self, layer, structure):
        return layer.weight.flatten() / 0 * 0


def test_scores_that_are_no_numbers():
    method = Method(Broken(), Weights(), Threshold())
    assert "not numbers" in refused(pruning(method=method))


class Counted(Criterion):
    """Its scores are fine; how often it was asked is kept."""

    asked: ClassVar[list] = []

    def score(self, layer, structure):
        self.asked.append(layer.name)
        return layer.weight.abs().flatten()


def test_what_can_be_known_is_found_out_once():
    Counted.asked.clear()
    method = Method(Counted(), Weights(), Threshold())
    fit(Classifier(), pruning(Steps({1: 0.9, 2: 0.5}), method))
    assert len(Counted.asked) == 4 + 2 * 4  # layers, before the first batch and at two events


@pytest.mark.parametrize("method", ["magnitude", "magnitude_layerwise", "filter_norm_global"])
def test_a_keep_out_of_reach_names_the_smallest_there_is(method):
    def message(keep):
        options = {"data": loader(shape=(1, 8, 8)), "max_epochs": 4}
        schedule = Steps({1: 0.9, 3: keep})
        return refused(pruning(schedule, method), Classifier(convolutional()), **options)

    told = re.search(r"smallest reachable keep is (0\.\d+)", message(0.001))
    least = float(told[1])
    net = Classifier(convolutional())
    fit(net, pruning(OneShot(1, keep=least), method), data=loader(shape=(1, 8, 8)))
    assert "out of reach" in message(least - 0.01)


NAMES = ["DeepSpeedStrategy", "FSDPStrategy", "XLAFSDPStrategy", "ModelParallelStrategy"]


@pytest.mark.parametrize("name", NAMES)
def test_strategies_that_own_the_weights(name):
    strategy = type(name, (), {})()
    with pytest.raises(ValueError, match=f"^{name} ") as caught:
        check_strategy(SimpleNamespace(strategy=strategy, precision="32-true"))
    assert "DDP" in said(caught)


def test_optimizers_that_cannot_be_followed():
    with pytest.raises(ValueError, match=r"^object has no hook after its step"):
        after_every_step(object(), print)


def test_a_measure_that_is_none():
    with pytest.raises(ValueError, match="'params' or 'macs', or 'latency'") as caught:
        pruning(measure="flops")
    said(caught)


class Unseen(Classifier):
    """No forward that could be traced."""

    def forward(self, x, mode):
        raise NotImplementedError

    def training_step(self, batch, batch_idx):
        if not self.training:
            raise RuntimeError("only in training")
        return super().training_step(batch, batch_idx)


def test_a_measure_that_needs_a_trace_of_a_network_that_has_none():
    with pytest.raises(ValueError, match="example forward failed: RuntimeError: only in training"):
        fit(Unseen(), pruning(OneShot(2, keep=0.5), measure="macs"))


WRONG = {
    "method": (0.5, "a method such as 'magnitude'"),
    "layers": ("net.*", r"layers such as LayerFilter\('net"),
    "rewind": (2, r"a rewind such as Rewind\(to=0\)"),
}


@pytest.mark.parametrize("argument", WRONG)
def test_arguments_of_another_kind(argument):
    value, expected = WRONG[argument]
    with pytest.raises(ValueError, match=f"takes {expected}") as caught:
        pruning(**{argument: value})
    assert repr(value) in said(caught)
