"""Pruning without a Trainer."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune import LayerFilter, methods, prune
from lightning_prune.structures import Weights

EXAMPLE = torch.randn(2, 3, 8, 8)
NAMES = sorted(name for name, method in methods().items() if method is not None)
CUTTING = [name for name in NAMES if methods()[name].allocation.cuts]  # the rest leave a pattern
# what regrows is kept, and zero at first
REGROWING = [name for name in NAMES if methods()[name].criterion.regrows]
OF_WEIGHTS = [
    name for name in NAMES if methods()[name].structure == Weights() and name not in REGROWING
]
DATA = {"loader": [EXAMPLE], "loss": lambda model, batch: model(batch).square().mean()}


def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5),
    )  # fmt: skip


def size(model):
    return sum(p.numel() for p in model.parameters())


def nonzero(model):
    return sum(int(p.count_nonzero()) for p in model.parameters())


def awake(model):
    """Biases and norms without zeros, so that every zero was made by pruning."""
    for p in model.parameters():
        p.data = torch.where(p == 0, torch.full_like(p, 0.1), p)
    return model


@pytest.mark.parametrize("name", OF_WEIGHTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_keep_is_exact_to_one_weight(name, dtype):
    for keep in (0.07, 1 / 3, 0.5, 0.9999, 1.0):
        model = awake(net()).to(dtype)
        report = prune(model, name, keep, **DATA | {"loader": [EXAMPLE.to(dtype)]})
        assert nonzero(model) == report.nonzero == report.left == int(keep * size(model))


def test_keep_is_exact_where_all_weights_are_equal():
    model = awake(net())
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    prune(model, "magnitude", 0.3)
    assert nonzero(model) == int(0.3 * size(model))


@pytest.mark.parametrize("name", CUTTING)
def test_keep_of_everything_changes_nothing(name):
    model = net()
    before = copy.deepcopy(model.state_dict())
    report = prune(model, name, 1.0, **DATA)
    assert report.keep == 1.0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# with neurons cleaned away every path may break, and nothing is multiplied any more
BOUNDED = [
    (name, measure)
    for name in NAMES
    for measure in ("params", "macs")
    if (name, measure) != ("magnitude_clean", "macs")
]


@pytest.mark.parametrize(("name", "measure"), BOUNDED)
def test_the_smallest_reachable_keep_is_named_and_works(name, measure):
    model = net()
    dense = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"keep=0.0001 is out of reach") as caught:
        prune(model, name, 0.0001, measure=measure, **DATA)
    assert nonzero(model) == nonzero(dense), "nothing was pruned"
    least = float(re.search(r"smallest reachable keep is (\d\.\d+)", str(caught.value))[1])
    report = prune(model, name, least, measure=measure, **DATA)
    assert report.keep <= least
    with pytest.raises(ValueError, match="out of reach"):
        prune(dense, name, least - 2e-4, measure=measure, **DATA)


def macs(model):
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(EXAMPLE)
    return flops.get_total_flops() // 2 // len(EXAMPLE)


def test_multiply_adds_of_weights_are_exact_to_the_price_of_one():
    model, places = net(), {"0": 64, "4": 16, "9": 1}
    for keep in (0.1, 0.45, 0.8):
        model = net()
        report = prune(model, "magnitude", keep, measure="macs", example=EXAMPLE)
        left = sum(
            count * int(model.get_submodule(name).weight.count_nonzero())
            for name, count in places.items()
        )
        assert report.dense == report.macs == macs(model)
        assert report.left == report.macs_effective == left
        assert keep * report.dense - 64 < left <= keep * report.dense


@pytest.mark.parametrize("measure", ["params", "macs"])
def test_filters_leave_what_a_thin_network_has(measure):
    model = awake(net())
    report = prune(model, "filter_norm", 0.4, measure=measure, example=EXAMPLE)
    first, second = (int(model[i].weight.flatten(1).any(1).sum()) for i in (0, 4))
    thin = nn.Sequential(
        nn.Conv2d(3, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1, bias=False), nn.BatchNorm2d(second), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(second * 4, 5),
    )  # fmt: skip
    assert report.left == (size(thin) if measure == "params" else macs(thin))
    assert nonzero(model) == size(thin)
    assert report.left <= 0.4 * report.dense


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("magnitud", 0.5), "no method 'magnitud'; there are none, magnitude"),
        (("none", 0.5), "prunes nothing"),
        (("magnitude", 0.0), r"in \(0, 1\], not 0.0"),
        (("magnitude", 10), r"in \(0, 1\], not 10"),
        (("filter_norm", 0.5), "no example input"),
    ],
)
def test_bad_arguments_are_refused_with_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune(net(), *arguments)


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="'params' or 'macs', or 'latency'"):
        prune(net(), "magnitude", 0.5, measure="flops")


def test_weights_that_are_nan_are_refused_by_name_before_anything_changes():
    model = net()
    model[4].weight.data[1, 2] = torch.nan
    before = nonzero(model)
    for name in ("magnitude", "magnitude_layerwise", "filter_norm"):
        with pytest.raises(ValueError, match=r"scores of '4' are not numbers.*nothing was pruned"):
            prune(model, name, 0.5, **DATA)
    assert nonzero(model) == before


def test_only_chosen_layers_are_pruned():
    model = net()
    prune(model, "magnitude", 0.9, layers=LayerFilter(types="Linear"))
    assert not (model[0].weight == 0).any()
    assert not (model[4].weight == 0).any()
    assert int((model[9].weight == 0).sum()) == size(model) - int(0.9 * size(model))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, a, b):
        return self.head((self.left(a) + self.right(b)).relu())


A, B = torch.randn(2, 4), torch.randn(2, 3)


@pytest.mark.parametrize("example", [(A, B), {"b": B, "a": A}], ids=["tuple", "mapping"])
def test_examples_are_called_as_the_network_is(example):
    model = TwoInputs()
    report = prune(model, "filter_norm", 0.6, example=example)
    gone = model.left.weight.flatten(1).any(1).logical_not()
    assert gone.any()
    assert not model.right.weight[gone].any(), "the sum's channels leave both of its layers"
    assert report.macs == 8 * 4 + 8 * 3 + 2 * 8
