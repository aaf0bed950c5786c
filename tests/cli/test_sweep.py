"""A sweep: each run once, one table, broken runs named, dense networks shared."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from sweeps import sweep, table

from lightning_prune import curves
from lightning_prune.cli.train import main

pytestmark = pytest.mark.slow

GRID = ("method=magnitude,random_filters", "schedule.keep=0.5,0.3", "seed=0,1")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a sweep of eight runs was made."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sweep(*GRID) == 0
    return folder


def reports(folder: Path) -> dict[str, float]:
    """Time of every report below, by its place."""
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("report.json")}


def test_the_table_has_a_row_for_every_event(swept: Path):
    rows = table(swept)
    assert len(rows) == 8
    assert rows["run"].nunique() == 8
    assert set(zip(rows["method"], rows["keep_target"], rows["seed"], strict=True)) == {
        (m, k, s) for m in ("magnitude", "random_filters") for k in (0.5, 0.3) for s in (0, 1)
    }
    assert (rows["keep"] <= rows["keep_target"]).all()
    assert rows["last"].all()
    assert rows[["metric", "dense", "control"]].notna().all(axis=None)
    assert (rows["metric"] == rows["test/accuracy"]).all()
    assert {"data.samples", "schedule.keep"} <= set(rows.columns)


def test_a_row_says_what_its_run_reports(swept: Path):
    for row in table(swept).itertuples():
        report = json.loads((swept / "outputs" / "s" / row.run / "report.json").read_text())
        final = report["final"]
        assert row.metric == final["metrics"]["test/accuracy"]
        assert (row.nonzero, row.macs_effective) == (final["nonzero"], final["macs_effective"])
        assert row.control == report["control"]["metrics"]["test/accuracy"]


def test_curves_reads_the_runs_themselves(swept: Path):
    frame = curves(swept / "outputs" / "s")
    told = pd.read_csv(swept / "outputs" / "s" / "table.csv")
    pd.testing.assert_frame_equal(frame, told, check_dtype=False)


def test_dense_networks_and_controls_are_trained_once(swept: Path):
    """Two seeds: two of each, for eight runs."""
    root = swept / "outputs" / "s"
    assert len(list(root.glob("dense/*/checkpoints/dense.ckpt"))) == 2
    assert len(list(root.glob("control/*/checkpoints/final.ckpt"))) == 2
    assert not list(root.glob("method*/*/control"))
    rows = table(swept)
    assert (rows.groupby("seed")[["dense", "control"]].nunique() == 1).all(axis=None)


def test_a_row_s_command_reproduces_the_row(swept: Path, tmp_path: Path, monkeypatch):
    """Also the weights, although a run of its own shares nothing."""
    rows = table(swept)
    row = rows[(rows["method"] == "magnitude") & (rows["keep_target"] == 0.3)].iloc[-1]
    monkeypatch.setattr(sys, "argv", [*shlex.split(row["command"]), f"hydra.run.dir={tmp_path}"])
    main()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["final"]["metrics"]["test/accuracy"] == row["metric"]
    assert report["control"]["metrics"]["test/accuracy"] == row["control"]
    for name, shared in (("", f"{row['run']}/"), ("control/", "control/*/")):
        mine = torch.load(tmp_path / f"{name}checkpoints/final.ckpt", weights_only=True)
        equal = []
        for path in (swept / "outputs" / "s").glob(f"{shared}checkpoints/final.ckpt"):
            theirs = torch.load(path, weights_only=True)["state_dict"]
            equal.append(all(torch.equal(theirs[k], v) for k, v in mine["state_dict"].items()))
        assert any(equal), name


def test_a_second_command_does_what_is_missing(swept: Path, monkeypatch, capsys):
    monkeypatch.chdir(swept)
    before = reports(swept)
    assert sweep(*GRID) == 0
    assert reports(swept) == before
    said = capsys.readouterr().out
    assert said.count("finished already") == 8
    assert "± " not in said.splitlines()[1]


def test_another_config_in_the_same_folder_is_another_run(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "hydra.job.config.override_dirname.exclude_keys=[seed,label,task.label_smoothing]"
    assert sweep("seed=0", "control=false", name) == 0
    assert sweep("seed=0", "control=false", name, "task.label_smoothing=0.1") == 0
    assert "finished already" not in capsys.readouterr().out
    (row,) = table(tmp_path)["command"]
    assert "label_smoothing=0.1" in row
    assert sweep("seed=0", "control=false", name, "task.label_smoothing=0.1", "redo=true") == 0
    assert "finished already" not in capsys.readouterr().out


def test_a_broken_run_is_named_and_the_rest_goes_on(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sweep("schedule.keep=0.001,0.5", "control=false") == 1
    told = capsys.readouterr()
    assert "schedule.keep=0.001 is broken: keep=0.001 is out of reach" in told.out
    assert "1 of the runs are broken" in told.err
    assert "  schedule.keep=0.001: keep=0.001 is out of reach" in told.err
    assert list(table(tmp_path)["keep_target"]) == [0.5]
    assert len(list(tmp_path.rglob("error.txt"))) == 1
    assert sweep("schedule.keep=0.001,0.5", "control=false") == 1  # and only that one again
    assert "[2/2] schedule.keep=0.5: finished already" in capsys.readouterr().out


def test_pruning_at_initialisation_shares_the_control_only(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = ("data=synthetic", "data.batch_size=16", "data.samples=64", "logger=none", "epochs=2")
    start = ("schedule=one_shot", "schedule.epoch=0", "name=s", "rewind=none")
    assert sweep("schedule.keep=0.5,0.3", job=job + start) == 0
    root = tmp_path / "outputs" / "s"
    assert not (root / "dense").exists()
    assert len(list(root.glob("control/*/checkpoints/final.ckpt"))) == 1


def test_without_sharing_every_run_has_its_own(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sweep("schedule.keep=0.5", "share=false") == 0
    root = tmp_path / "outputs" / "s"
    assert not (root / "dense").exists()
    assert len(list(root.glob("*/0/control/checkpoints/final.ckpt"))) == 1


def test_several_processes_in_a_run_are_refused(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sweep("trainer.devices=2") == 1
    assert "A run of a sweep has one process" in capsys.readouterr().out


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(
    swept: Path, tmp_path: Path, monkeypatch
):
    """As a kill between its last epoch and its end leaves it."""
    shutil.copytree(swept / "outputs", tmp_path / "outputs")
    root = tmp_path / "outputs" / "s"
    run = next(root.glob("*method=magnitude*keep=0.3*/1"))
    identity = json.loads((run / "run.json").read_text())["identity"]
    (run / "run.json").write_text(json.dumps({"status": "running", "identity": identity}))
    for name in ("rows.csv", "report.json", "checkpoints/final.ckpt"):
        (run / name).unlink()
    before = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    trained = reports(root / "dense") | reports(root / "control")
    monkeypatch.chdir(tmp_path)
    assert sweep(*GRID) == 0
    pd.testing.assert_frame_equal(table(tmp_path), table(swept))
    assert not (run / "earlier").exists()
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before, "nothing retrained"
    assert reports(root / "dense") | reports(root / "control") == trained
