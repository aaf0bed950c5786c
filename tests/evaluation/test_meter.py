"""The meter: what its rows say, and that models stay as they are. No clock is judged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_prune.evaluation import Speed, measure_speed, meter
from lightning_prune.evaluation.memory import peak_bytes
from lightning_prune.network.inputs import resized

CPU = torch.device("cpu")
EXAMPLE = torch.randn(2, 3, 8, 8)


def net(width: int = 4) -> nn.Module:
    conv = nn.Conv2d(3, width, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))


@pytest.fixture
def model() -> nn.Module:
    built = net()
    built(EXAMPLE)
    return built


def test_a_row_a_batch_and_model(model: nn.Module):
    models = {"module": model, "call": lambda x: model(x) * 2}
    rows = measure_speed(models, EXAMPLE, batches=(1, 3), repeats=2)
    assert [(row.name, row.batch) for row in rows] == [
        ("module", 1), ("call", 1), ("module", 3), ("call", 3)
    ]  # fmt: skip
    for row in rows:
        assert 0 < row.low_ms <= row.median_ms <= row.high_ms
        assert row.samples_per_s == pytest.approx(1e3 * row.batch / row.median_ms)
        assert (row.device, row.threads) == ("cpu", 1)
    stored = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert [row.weight_bytes for row in rows] == [stored, None] * 2
    assert rows[1].memory_bytes is None, "operators of a function may be anywhere"
    assert Speed(**rows[0].to_dict()) == rows[0]


def test_median_and_quartiles_are_those_of_the_rounds(model: nn.Module, monkeypatch):
    turns = [[4e-3, 1e-3, 2e-3, 3e-3, 5e-3]]
    monkeypatch.setattr(meter, "by_turns", lambda *_: turns)
    (row,) = measure_speed({"a": model}, EXAMPLE, batches=[10])
    assert (row.low_ms, row.median_ms, row.high_ms) == pytest.approx((2.0, 3.0, 4.0))
    assert row.samples_per_s == pytest.approx(10 / 3e-3)


@pytest.mark.parametrize("training", [True, False])
def test_measuring_changes_nothing(model: nn.Module, training: bool):
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    threads, stream = torch.get_num_threads(), torch.get_rng_state()
    rows = measure_speed({"a": model, "b": model}, EXAMPLE, batches=[1], repeats=2, threads=2)
    assert [row.threads for row in rows] == [2, 2]
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training == training for module in model.modules())


def test_models_run_at_the_batch_in_eval_mode():
    seen = set()

    class Look(nn.Module):
        def forward(self, x):
            seen.add((len(x), self.training, torch.is_grad_enabled()))
            return x

    measure_speed({"a": Look()}, EXAMPLE, batches=(1, 5), repeats=2)
    assert seen == {(1, False, False), (5, False, False)}


def test_examples_are_repeated_to_the_size():
    x = torch.arange(6.0).view(3, 2)
    assert resized(x, 5).tolist() == x[[0, 1, 2, 0, 1]].tolist()
    assert resized(x, 2).tolist() == x[:2].tolist()
    scale, names = torch.tensor(2.0), "kept"
    pair = resized((x, {"y": x, "scale": scale, "names": names}), 4)
    assert (len(pair[0]), len(pair[1]["y"])) == (4, 4)
    assert (pair[1]["scale"], pair[1]["names"]) == (scale, names)


def test_memory_is_what_is_alive_at_once():
    """100 floats in; 1000, then 10, then 1000 again while the first thousand are dropped."""

    class Wave(nn.Module):
        def forward(self, x):
            small = x.repeat(10)[:10].clone()
            return small.repeat(100) + 1

    x = torch.zeros(100)
    # the thousand that are repeated and the thousand that are their sum with 1, and the ten
    assert peak_bytes(lambda: Wave()(x), CPU) == 4 * (10 + 1000 + 1000)


def test_memory_of_what_is_made_in_place_is_none():
    x = torch.ones(100)
    assert peak_bytes(lambda: nn.ReLU(inplace=True)(x).view(10, 10), CPU) == 0


def test_memory_grows_with_the_batch(model: nn.Module):
    one, four = measure_speed({"a": model}, EXAMPLE, batches=(1, 4), repeats=2)
    assert one.memory_bytes is not None
    # two maps of 4 channels of 8 x 8 are alive at once at least
    assert one.memory_bytes >= 4 * 2 * 4 * 64
    assert four.memory_bytes == 4 * one.memory_bytes


@pytest.mark.slow
def test_compiled_models_run_compiled(model: nn.Module):
    told = []

    def backend(graph, inputs):
        told.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    (row,) = measure_speed({"a": compiled}, EXAMPLE, batches=[1], repeats=2)
    assert told
    assert row.memory_bytes is None


def test_what_cannot_be_measured_is_said(model: nn.Module):
    with pytest.raises(ValueError, match="no model"):
        measure_speed({}, EXAMPLE)
    with pytest.raises(ValueError, match=r"whole numbers from 1 on, not \[0\]"):
        measure_speed({"a": model}, EXAMPLE, batches=[0])
    with pytest.raises(ValueError, match="repeats=1"):
        measure_speed({"a": model}, EXAMPLE, repeats=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_an_accelerator_a_copy_is_measured(model: nn.Module):
    rows = measure_speed({"a": model}, EXAMPLE, batches=(1, 8), repeats=3, device="cuda")
    assert {row.device for row in rows} == {"cuda"}
    assert all(row.memory_bytes and row.memory_bytes > 0 for row in rows)
    assert next(model.parameters()).device.type == "cpu"
