"""Latency in a Trainer: measured once, before the first event, and never again."""

from __future__ import annotations

import clocks
import pytest
import torch
from cases import EPOCHS
from pytorch_lightning.callbacks import ModelCheckpoint
from subject import Net, differences, fit

from lightning_prune import LatencyTables, OneShot, Pruning, clock, measure_latencies
from lightning_prune.network import stopwatch
from lightning_prune.training import pruner

EXAMPLE = torch.randn(1, 1, 8, 8)


@pytest.fixture(autouse=True)
def by_products(monkeypatch):
    """A clock that counts products, plus a draw: no two measurements are alike."""
    draw = torch.Generator().manual_seed(0)

    def fastest(sides, rounds, device):
        noise = torch.rand(len(sides), generator=draw).tolist()
        taken = clocks.fastest(sides)
        return [one + 1e-6 * more for one, more in zip(taken, noise, strict=True)]

    monkeypatch.setattr(clock, "fastest", fastest)


def pruning(**options) -> Pruning:
    return Pruning("filter_norm", EPOCHS, verbose=False, **{"measure": "latency", **options})


def test_tables_are_measured_once_and_every_event_counts_in_them(monkeypatch):
    measured = []

    def timed(*args):
        measured.append(pruner_timed(*args))
        return measured[-1]

    pruner_timed = pruner.timed
    monkeypatch.setattr(pruner, "timed", timed)
    callback = pruning()
    fit(callback, seed=0)
    (tables,) = measured
    assert [event["dense"] for event in callback.events] == [tables.dense] * 3
    for event in callback.events:
        assert event["measure"] == "latency"
        assert event["left"] <= event["budget"] == int(event["keep_target"] * tables.dense + 1e-6)
    assert callback.state_dict()["latency"] == tables.to_dict()
    assert tables.batch == 1
    assert set(tables.layers) == {"net.0", "net.1", "net.5", "net.6", "net.10"}


@pytest.mark.slow
def test_a_resumed_run_counts_in_the_tables_of_its_checkpoint(tmp_path, monkeypatch):
    keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    straight = fit(pruning(), seed=0, callbacks=[keep])
    monkeypatch.setattr(pruner, "timed", lambda *_: pytest.fail("measured again"))
    for epoch in (0, 1, 2):  # the first is behind the rehearsal, and before the first event
        resumed = fit(pruning(), seed=7, resume=tmp_path / f"epoch={epoch}.ckpt")
        for part in ("weights", "masks", "optimizers", "events"):
            assert not differences(straight[part], resumed[part], part)


def test_tables_may_be_given(monkeypatch):
    monkeypatch.setattr(pruner, "timed", lambda *_: pytest.fail("measured again"))
    tables = measure_latencies(Net(), EXAMPLE)
    callback = pruning(measure=tables)
    fit(callback, seed=0)
    assert callback.events[-1]["dense"] == tables.dense
    assert callback.state_dict()["latency"] == tables.to_dict()


@pytest.mark.slow
def test_tables_of_a_checkpoint_are_not_asked_for_by_another_measure(tmp_path):
    keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    fit(pruning(), seed=0, callbacks=[keep])
    callback = pruning(measure="macs")
    fit(callback, seed=0, resume=tmp_path / "epoch=0.ckpt")
    assert callback.events[-1]["measure"] == "macs"
    assert "latency" not in callback.state_dict()


def test_a_module_without_a_forward_is_measured_through_its_step(monkeypatch):
    class Step(Net):
        def __init__(self):
            super().__init__()
            self.inner = self.net

        def forward(self):  # of another form than what the loader gives
            raise NotImplementedError

        def training_step(self, batch, batch_idx):
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            pass

    seen = []
    measure = stopwatch.measure_runs

    def look(*args, **kwargs):
        seen.append(kwargs["batch"])
        return measure(*args, **kwargs)

    monkeypatch.setattr("lightning_prune.training.latency.measure_runs", look)
    callback = Pruning("filter_norm", OneShot(1, keep=0.5), measure="latency", verbose=False)
    fit(callback, seed=0, net=Step(), max_epochs=2)
    assert len(seen) == 1
    assert seen[0] > 1
    assert callback.state_dict()["latency"]["batch"] == seen[0]


def test_structures_without_widths_refuse_it():
    with pytest.raises(ValueError, match="takes whole filters or channels: Weights"):
        Pruning("magnitude", EPOCHS, measure="latency")
    with pytest.raises(ValueError, match="'params' or 'macs', or 'latency'"):
        Pruning("filter_norm", EPOCHS, measure="flops")


def test_the_dense_control_has_no_structure_to_ask():
    assert Pruning("none", EPOCHS, measure="latency").measure == "latency"


def test_tables_survive_a_state(tmp_path):
    callback = pruning(measure=measure_latencies(Net(), EXAMPLE))
    torch.save(callback.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = pruning()
    other.load_state_dict(state)
    assert other.state_dict()["latency"] == callback.state_dict()["latency"]
    found = LatencyTables.from_dict(other.state_dict()["latency"])
    assert found.of(Net()) == found.dense
