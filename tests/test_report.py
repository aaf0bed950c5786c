"""Reports: what they say is what a reader counts in the network."""

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune import PruneReport, prune
from lightning_prune.report import LayerReport, keep_text

REPORT = PruneReport(
    method="magnitude", measure="params", keep_target=0.5, keep=0.48, dense=100, left=48,
    budget=50, params=100, nonzero=47, macs=800, macs_effective=300, cut=0.1, seconds=0.01,
    layers=(
        LayerReport("first", 60, kept=20, params=60, nonzero=19, macs=600, macs_effective=190),
        LayerReport("second", 30, kept=18, params=30, nonzero=18, macs=200, macs_effective=110),
    ),
    notes=("norm keeps its units: weights are [out, in]",),
)  # fmt: skip


def test_the_gap_is_what_the_budget_would_still_have_allowed():
    assert REPORT.gap == 2


def test_a_dict_of_it_is_plain_and_whole():
    plain = json.loads(json.dumps(REPORT.to_dict()))
    assert plain == REPORT.to_dict()
    assert plain["gap"] == 2
    assert plain["layers"][1]["kept"] == 18
    assert PruneReport(
        **{k: v for k, v in plain.items() if k not in ("gap", "layers", "notes")},
        layers=tuple(LayerReport(**layer) for layer in plain["layers"]),
        notes=tuple(plain["notes"]),
    ) == REPORT  # fmt: skip


@pytest.mark.parametrize(
    ("keep", "text"),
    [
        (0.1, "keep 0.10 (sparsity 0.90)"),
        (1.0, "keep 1.00 (sparsity 0.00)"),
        (0.0123, "keep 0.0123 (sparsity 0.9877)"),
    ],
)
def test_both_readings_of_a_share(keep, text):
    assert keep_text(keep) == text


def test_printed_it_names_every_layer_and_note():
    text = str(REPORT)
    assert "magnitude: keep 0.48 (sparsity 0.52) of 100 params" in text
    (row,) = [line for line in text.splitlines() if "first" in line]
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells == ["first", "60", "19", "600", "190", "0.317"]
    assert "note: norm keeps its units: weights are [out, in]" in text


def test_multiply_adds_that_are_not_known_have_no_column():
    layer = LayerReport("first", units=2, kept=1, params=60, nonzero=30)
    text = str(PruneReport(**{**vars(REPORT), "layers": (layer,)}))
    assert "macs" not in text
    assert "units" in text


class Net(nn.Module):
    """Two convolutions whose second is applied twice, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=1, padding=1, bias=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.second(self.second(self.norm(self.first(x)).relu()).relu())
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("method", ["magnitude", "filter_norm", "random_filters"])
def test_every_number_of_a_pruning_is_what_is_in_the_network(method):
    net, example = Net(), torch.randn(2, 3, 6, 6)
    with FlopCounterMode(display=False) as flops:
        net(example)
    params = sum(p.numel() for p in net.parameters())
    report = prune(net, method, 0.6, example=example)
    assert (report.dense, report.params) == (params, params)
    assert report.nonzero == sum(int(p.count_nonzero()) for p in net.parameters())
    assert report.macs == flops.get_total_flops() // 2 // len(example)
    assert report.left <= report.budget == int(0.6 * params)
    assert report.keep == report.left / params
    places = {"first": 36, "second": 72, "head": 1}  # of 6 x 6; the second layer is called twice
    for layer in report.layers:
        weight = net.get_submodule(layer.name).weight
        assert (layer.params, layer.nonzero) == (weight.numel(), int(weight.count_nonzero()))
        assert layer.macs == places[layer.name] * layer.params
        assert layer.macs_effective == places[layer.name] * layer.nonzero
    assert report.macs_effective == sum(layer.macs_effective for layer in report.layers)


def test_kept_units_are_those_that_have_a_weight():
    net = Net()
    report = prune(net, "filter_norm", 0.5, example=torch.randn(2, 3, 6, 6))
    for layer in report.layers:
        rows = net.get_submodule(layer.name).weight.flatten(1)
        assert (layer.units, layer.kept) == (len(rows), int(rows.any(1).sum()))
        assert layer.kept < layer.units or layer.name == "head"


def test_without_an_example_multiply_adds_are_not_known_and_it_says_so():
    report = prune(Net(), "magnitude", 0.5)
    assert (report.macs, report.macs_effective) == (None, None)
    assert report.notes == ("multiply-adds are not known: no example input was given",)


def test_layers_that_cannot_lose_filters_are_named_with_the_reason():
    report = prune(Net(), "filter_norm", 0.5, example=torch.randn(2, 3, 6, 6))
    assert [note for note in report.notes if note.startswith("head keeps its units: ")]
