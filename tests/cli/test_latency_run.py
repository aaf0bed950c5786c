"""`measure=latency` on the command line, with a clock that counts products."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import clocks
import pytest
import torch

from lightning_prune import LatencyTables, clock
from lightning_prune.cli.train import main

DEBUG = [
    "trainer=debug", "data=synthetic", "data.batch_size=16", "data.samples=64", "control=false",
    "method=filter_norm", "schedule.keep=0.5", "logger=none",
]  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def by_products(monkeypatch):
    monkeypatch.setattr(clock, "fastest", clocks.fastest)


def run(folder: Path, monkeypatch, *overrides: str) -> dict:
    monkeypatch.setattr(
        sys, "argv", ["lightning-prune", *DEBUG, f"hydra.run.dir={folder}", *overrides]
    )
    main()
    return json.loads((folder / "report.json").read_text())


def saved(folder: Path) -> LatencyTables:
    state = torch.load(folder / "checkpoints" / "final.ckpt", weights_only=True)["callbacks"]
    return LatencyTables.from_dict(state["Pruning"]["latency"])


def test_a_run_counts_the_latency_that_it_measures_or_is_given(tmp_path, monkeypatch):
    report = run(tmp_path / "first", monkeypatch, "measure=latency")
    tables = saved(tmp_path / "first")
    last = report["events"][-1]
    assert report["measure"] == last["measure"] == "latency"
    assert last["dense"] == tables.dense
    assert last["left"] <= 0.5 * tables.dense

    tables.save(tmp_path / "tables.json")
    given = f"measure={{_target_:lightning_prune.LatencyTables.load,path:{tmp_path}/tables.json}}"
    monkeypatch.setattr(clock, "fastest", lambda *_: pytest.fail("measured again"))
    again = run(tmp_path / "second", monkeypatch, given)
    assert again["measure"] == "latency"
    assert [event["left"] for event in again["events"]] == [e["left"] for e in report["events"]]
    assert saved(tmp_path / "second").to_dict() == tables.to_dict()


def test_single_weights_have_no_latency(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path / "run", monkeypatch, "measure=latency", "method=magnitude")
    assert "measure='latency' takes whole filters or channels" in capsys.readouterr().err
