"""Networks under shift: rows against what torch and a reader compute on the whole set."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from torchmetrics.functional.classification import multiclass_calibration_error

from lightning_prune.data.images import TensorImages
from lightning_prune.evaluation import class_harm, evaluate_shifts
from lightning_prune.models.ode_net import ODENet
from lightning_prune.tasks.classification import Classification


class Set(NamedTuple):
    name: str
    severity: int
    side: str
    dataset: object


class Counting(nn.Linear):
    """Counts the samples that it sees."""

    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return super().forward(x)


def sample(count: int = 100, classes: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 6), torch.arange(count) % classes


def rows_of(networks, x, y, **options) -> dict[str, dict]:
    rows = evaluate_shifts(networks, [Set("nominal", 0, "train", TensorDataset(x, y))], **options)
    return {row["network"]: row for row in rows}


def test_a_row_is_what_torch_computes_on_the_whole_set():
    networks = {name: nn.Linear(6, 4) for name in ("dense", "pruned", "other")}
    x, y = sample()
    found = rows_of(networks, x, y, separate="other", batch_size=7)["pruned"]
    with torch.no_grad():
        logits = {name: network(x) for name, network in networks.items()}
    own, soft = logits["pruned"], {name: each.softmax(1) for name, each in logits.items()}
    predicted = {name: each.argmax(1) for name, each in logits.items()}
    recalls = {
        name: [float((each == y)[y == k].float().mean()) for k in range(4)]
        for name, each in predicted.items()
    }
    harm = class_harm(recalls["dense"], recalls["pruned"])
    error = multiclass_calibration_error(soft["pruned"], y, 4, 15, "l1")
    same = {n: (predicted["pruned"] == predicted[n]).float().mean() for n in networks}
    apart = {n: (soft["pruned"] - soft[n]).norm(dim=1).mean() for n in networks}
    assert found == {
        "network": "pruned", "distribution": "nominal", "severity": 0, "side": "train",
        "samples": 100,
        "accuracy": pytest.approx(float((predicted["pruned"] == y).float().mean())),
        "loss": pytest.approx(float(F.cross_entropy(own, y)), rel=1e-6),
        "calibration": pytest.approx(float(error), abs=1e-6),
        "agreement": pytest.approx(float(same["dense"])),
        "distance": pytest.approx(float(apart["dense"]), rel=1e-5),
        "agreement_separate": pytest.approx(float(same["other"])),
        "distance_separate": pytest.approx(float(apart["other"]), rel=1e-5),
        "worst_class": harm.worst_class,
        "worst_drop": pytest.approx(harm.worst_drop, abs=1e-6),
        "evaluations": None,
    }  # fmt: skip


def test_the_dense_network_agrees_with_itself():
    found = rows_of({"dense": nn.Linear(6, 4)}, *sample())["dense"]
    assert (found["agreement"], found["distance"], found["worst_drop"]) == (1, 0, 0)
    assert found["agreement_separate"] is found["distance_separate"] is None


def test_the_order_of_samples_does_not_matter():
    networks = {name: nn.Linear(6, 4) for name in ("dense", "pruned")}
    x, y = sample()
    order = torch.randperm(len(x))
    plain, moved = (
        rows_of(networks, *pair, batch_size=9) for pair in ((x, y), (x[order], y[order]))
    )
    for name in networks:
        for key, value in plain[name].items():
            known = isinstance(value, float)
            assert moved[name][key] == (pytest.approx(value, rel=1e-5) if known else value)


def test_neurons_by_another_name_change_nothing():
    dense = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    moved = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    order = torch.randperm(16)
    with torch.no_grad():
        moved[0].weight.copy_(dense[0].weight[order])
        moved[0].bias.copy_(dense[0].bias[order])
        moved[2].weight.copy_(dense[2].weight[:, order])
        moved[2].bias.copy_(dense[2].bias)
    found = rows_of({"dense": dense, "pruned": moved}, *sample())["pruned"]
    assert found["agreement"] == 1
    assert found["distance"] == pytest.approx(0, abs=1e-6)
    assert found["worst_drop"] == 0


def test_every_network_sees_every_sample_once():
    networks = {name: Counting(6, 4) for name in ("dense", "pruned", "other")}
    sets = [Set(str(s), s, "test", TensorDataset(*sample(25))) for s in range(3)]
    calls = []
    rows = evaluate_shifts(
        networks, sets, separate="other", batch_size=10, progress=lambda *done: calls.append(done)
    )
    assert [network.seen for network in networks.values()] == [75, 75, 75]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    places = [(row["distribution"], row["network"]) for row in rows]
    assert places == [(str(s), name) for s in range(3) for name in networks]


def test_distributions_may_come_one_by_one():
    calls = []
    stream = (Set(str(s), s, "test", TensorDataset(*sample(5))) for s in range(2))
    rows = evaluate_shifts(
        {"dense": nn.Linear(6, 4)}, stream, progress=lambda *done: calls.append(done)
    )
    assert len(rows) == 2
    assert calls == [(1, None), (2, None)]


def test_networks_stay_as_they_are():
    norm = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 4))
    norm[1].eval()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x, y = sample()
    first, second = (rows_of({"dense": norm}, x, y) for _ in range(2))
    assert first == second
    assert [module.training for module in norm] == [True, False, True]
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name])
    assert norm[2].weight.grad is None


def test_images_are_read_a_batch_at_once():
    images, labels = torch.randint(256, (20, 1, 4, 4), dtype=torch.uint8), torch.arange(20) % 4
    dataset = TensorImages(images, labels, std=torch.tensor([255.0]))
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    (row,) = evaluate_shifts({"dense": network}, [Set("fog", 3, "test", dataset)], batch_size=8)
    with torch.no_grad():
        expected = (network(images / 255).argmax(1) == labels).float().mean()
    assert row["accuracy"] == pytest.approx(float(expected))
    assert (row["severity"], row["side"], row["samples"]) == (3, "test", 20)


def test_evaluations_are_those_of_one_solve():
    images, labels = torch.randn(10, 1, 8, 8), torch.arange(10)
    net = ODENet(1, 4)
    net.tally.solves, net.tally.forward = 1, 1000  # of another forward
    task = Classification(net, lambda parameters: torch.optim.SGD(parameters, 0.1))
    networks = {"dense": net, "task": task, "plain": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}
    found = rows_of(networks, images, labels, batch_size=4)
    # two steps of rk4
    assert [found[name]["evaluations"] for name in networks] == [8, 8, None]
    assert found["task"]["agreement"] == 1


class Broken(nn.Module):
    """Right about every label, but of every other sample it says nothing."""

    def forward(self, x: Tensor) -> Tensor:
        logits = F.one_hot(x[:, 0].long(), 4).float()
        logits[::2] = math.nan
        return logits


def test_what_is_not_finite_is_wrong():
    labels = torch.arange(20) % 4
    right = nn.Linear(1, 4)
    found = rows_of({"dense": right, "pruned": Broken()}, labels[:, None].float(), labels)["pruned"]
    assert found["accuracy"] == 0.5
    assert found["calibration"] is found["loss"] is found["distance"] is None
    assert found["agreement"] <= 0.5


def test_logits_between_0_and_1_are_no_probabilities():
    """All (0, 1): the confidence is e / (1 + e), the accuracy 1."""
    constant = nn.Linear(1, 2)
    nn.init.zeros_(constant.weight)
    constant.bias.data = torch.tensor([0.0, 1.0])
    found = rows_of({"dense": constant}, torch.randn(8, 1), torch.ones(8, dtype=torch.long))
    assert found["dense"]["calibration"] == pytest.approx(1 / (1 + math.e), abs=1e-6)


def test_a_class_without_samples_is_never_worst():
    """The dense network is wrong throughout, the pruned one right: classes 1 and 2 gain 1."""
    labels = torch.arange(20) % 2 + 1
    right, wrong = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    right.weight.data, wrong.weight.data = torch.eye(4), torch.eye(4).roll(2, 0)
    found = rows_of({"dense": wrong, "pruned": right}, F.one_hot(labels, 4).float(), labels)
    assert (found["pruned"]["worst_class"], found["pruned"]["worst_drop"]) == (1, -1)
    assert found["pruned"]["agreement"] == 0


def test_bad_input_is_refused():
    networks, (x, y) = {"dense": nn.Linear(6, 4)}, sample()
    with pytest.raises(ValueError, match="no network 'parent'"):
        rows_of(networks, x, y, dense="parent")
    with pytest.raises(ValueError, match="no network 'other'"):
        rows_of(networks, x, y, separate="other")
    with pytest.raises(ValueError, match="nominal has no samples"):
        rows_of(networks, x[:0], y[:0])
    with pytest.raises(ValueError, match="labels are not all from 0 to 3"):
        rows_of(networks, x, y + 1)
    with pytest.raises(ValueError, match="logits of shapes"):
        rows_of({**networks, "pruned": nn.Linear(6, 5)}, x, y)
    with pytest.raises(ValueError, match="logits of \\(n, classes\\) are needed"):
        rows_of({"dense": nn.Identity()}, x[:, None], y)
