"""Bounds beside measured errors, through the public report."""

import json
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_prune import Method, Samples, prune
from lightning_prune.allocations import Bernstein, EqualError, Threshold, WaterFilling
from lightning_prune.criteria import SiPP
from lightning_prune.structures import Channels, Filters, Weights


def linear(rows):
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows, dtype=torch.float64)
    return nn.Sequential(layer)


def shares(rows, x):
    """By row, the shares of its entries in its sum: of non-negative weights and inputs."""
    parts = torch.tensor(rows, dtype=torch.float64) * x
    return parts / parts.sum(1, keepdim=True)


def test_the_bound_of_what_was_seen_is_attained_on_non_negative_layers():
    """Every held-out input is a multiple of the one that was seen, so its shares are the same."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(5, 8, generator=generator, dtype=torch.float64).tolist()
    x = torch.rand(8, generator=generator, dtype=torch.float64)
    data = torch.stack([x * factor for factor in (1.0, 3.0, 0.2)])
    model = linear(rows)
    report = prune(model, "sipp", 0.5, loader=DataLoader(data, 1), batches=Samples(1))
    dropped = (shares(rows, x) * (model[0].weight == 0)).sum(1)
    (layer,) = report.layers
    assert report.held_out == 1
    assert layer.error == pytest.approx(layer.bound_seen, abs=1e-14)
    assert layer.error == pytest.approx(float(dropped.max()), abs=1e-14)
    assert layer.error_mean == pytest.approx(float(dropped.mean()), abs=1e-14)
    assert layer.bound == pytest.approx(3 * layer.bound_seen)


def test_two_samples_by_hand():
    """[[2, 1, 1], [1, -3, 2]] on (1, 1, 2) and (1, 3, 0) leaves [[0, 1, 0], [1, 1, 1]]: the first
    sample loses 0.8 of the first row, the second 0.4; the sensitivities that left sum to 0.8."""
    model = linear([[2.0, 1.0, 1.0], [1.0, -3.0, 2.0]])
    data = torch.tensor([[1.0, 1.0, 2.0], [1.0, 3.0, 0.0]], dtype=torch.float64)
    report = prune(model, "sipp", 4 / 6, loader=[data])
    assert model[0].weight.tolist() == [[0, 1, 0], [1, -3, 2]]
    (layer,) = report.layers
    assert report.held_out == 0  # both were seen
    assert layer.bound_seen == pytest.approx(0.8)
    assert layer.error == pytest.approx(0.8)
    assert layer.error_mean == pytest.approx(0.8 / 3)  # three rows and signs have a sum
    assert report.bound == pytest.approx(2.4)
    assert "bound says nothing for 1 of 1 layers" in " ".join(report.notes)


def test_a_bound_below_one_is_not_said_to_say_nothing():
    model = linear([[8.0, 1.0, 1.0]])
    report = prune(model, "sipp", 2 / 3, loader=[torch.ones(1, 3, dtype=torch.float64)])
    assert report.bound == pytest.approx(0.3)
    assert report.error == pytest.approx(0.1)
    (note,) = [note for note in report.notes if "by the theory" in note]
    assert "says nothing" not in note


@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("kernel", ["max", "sum"])
@pytest.mark.parametrize("structure", [Weights(), Channels("max")], ids=repr)
def test_what_was_seen_errs_by_the_bound_at_most(patches, kernel, structure):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3, dilation=2),
        nn.GELU(), nn.Conv2d(8, 8, 2, groups=2), nn.Flatten(), nn.Linear(32, 3),
    ).double()  # fmt: skip
    data = torch.randn(4, 2, 14, 14, dtype=torch.float64)
    method = Method(SiPP(patches, kernel), structure, Threshold())
    report = prune(model, method, 0.8, loader=[data])
    bounded = [layer for layer in report.layers if layer.bound is not None]
    assert len(bounded) >= (1 if isinstance(structure, Channels) else 4)
    for layer in bounded:
        assert 0 <= layer.error_mean <= layer.error <= layer.bound_seen + 1e-12
        assert layer.bound == pytest.approx(3 * layer.bound_seen)


def test_channels_err_by_what_they_were_to_their_readers():
    """Two channels of weights 3 and 1 on equal inputs: without the second a quarter is missing."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)).double()
    model[0].weight.data = torch.ones(2, 1, dtype=torch.float64)
    model[1].weight.data = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    report = prune(model, "pfp", 0.5, loader=[torch.ones(2, 1, dtype=torch.float64)])
    first, second = report.layers
    assert first.bound is None
    assert second.bound_seen == pytest.approx(0.25)
    assert second.error == pytest.approx(0.25)


def test_drawn_rows_have_bernsteins_bound():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 1, bias=False)).double()
    model[0].weight.data.abs_()
    data = torch.rand(30, 40, dtype=torch.float64)
    method = Method(SiPP("max"), Weights(), WaterFilling("random"))
    parts = model[0].weight.data * data
    total = float((parts / parts.sum(1, keepdim=True)).amax(0).sum())  # of all, not of the ten
    report = prune(model, method, 0.5, loader=DataLoader(data, 10), batches=1)
    (layer,) = report.layers
    assert report.held_out == 10
    assert layer.bound_seen is None
    seen = Bernstein("sipp")
    low, high = (seen.alpha_at(torch.tensor(part * total), 1, 1) for part in (0.8, 1.0))
    draws = torch.tensor(20.0)
    assert float(seen.error(low, draws)) <= layer.bound <= float(seen.error(high, draws))
    assert layer.error > 0


@pytest.mark.parametrize("select", ["random", "partial"])
def test_drawn_channels_have_the_bound_of_their_draws(select):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 4)).double()
    method = Method(SiPP("max"), Channels("max"), EqualError(select))
    report = prune(model, method, 0.3, loader=[torch.randn(40, 3, dtype=torch.float64)])
    layer = report.layers[1]
    assert layer.bound_seen is None
    assert 1 < layer.bound < math.inf
    assert math.isfinite(layer.error)


@pytest.mark.parametrize(
    "method",
    ["magnitude", "thinet", Method(SiPP(), Filters(), Threshold())],
    ids=["magnitude", "thinet", "filters"],
)
def test_without_a_theory_there_is_no_bound(method):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    report = prune(model, method, 0.8, loader=[torch.rand(8, 4)])
    assert report.bound is report.error is report.held_out is None
    assert all(layer.bound is None for layer in report.layers)
    assert not any("by the theory" in note for note in report.notes)


def test_where_nothing_leaves_there_is_nothing_to_bound():
    report = prune(linear([[1.0, 2.0]]), "sipp", 1.0, loader=[torch.ones(1, 2).double()])
    assert report.bound is None


def test_zeros_as_data_have_no_error_and_no_bound():
    report = prune(linear([[1.0, 2.0]]), "sipp", 0.5, loader=[torch.zeros(3, 2).double()])
    assert report.bound is None


@pytest.mark.parametrize("name", ["pfp_rand", "pfp_partial", "sipp_rand", "sipp_hybrid"])
def test_units_that_all_score_nothing_are_not_drawn(name):
    model = nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 2)).double()
    report = prune(model, name, 0.5, loader=[torch.zeros(4, 3, dtype=torch.float64)])
    assert report.bound is None


def test_a_bound_that_does_not_hold_is_said_to_be_broken():
    """The sample that was seen says nothing of the input that the others have alone."""
    data = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    report = prune(linear([[1.0, 1.0]]), "sipp", 0.5, loader=DataLoader(data, 1), batches=1)
    assert report.bound == 0
    assert report.error == 1
    assert any("1 of 1 layers err by more than their bound" in note for note in report.notes)


def test_data_that_end_leave_no_bound():
    """An iterator gives every batch once; what it gave last was seen."""
    data = iter([torch.rand(4, 2, dtype=torch.float64)])
    report = prune(
        linear([[1.0, 2.0]]), "sipp", 0.5, loader=data, example=torch.rand(1, 2).double()
    )
    assert report.bound is None


def test_a_report_is_plain_json():
    report = prune(linear([[1.0, 2.0]]), "sipp", 0.5, loader=[torch.ones(3, 2).double()])
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["layers"][0]["bound_seen"] == pytest.approx(1 / 3)
    assert "0.333" in str(report)
