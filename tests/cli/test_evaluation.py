"""The evaluation of a run: beyond the test metrics, after training, and never training anew."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from sweeps import sweep

from lightning_prune.cli.run import run
from lightning_prune.cli.train import main
from lightning_prune.configs import compose
from lightning_prune.table import shifts

DIGITS = ("trainer=debug", "data=digits", "logger=none", "schedule=one_shot", "schedule.epoch=1")
TWO = "evaluation.shifts.corruptions.names=[gaussian_noise, contrast]"
BEYOND = ("evaluation=beyond_accuracy", TWO, "evaluation.images=40", "evaluation.noise=6",
          "evaluation.features=2", "evaluation.separate=7")  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    run(compose("train", *DIGITS, *BEYOND), folder)
    return folder


def test_every_network_is_tested_on_every_distribution(evaluated: Path):
    rows = pd.read_csv(evaluated / "shifts.csv")
    networks = {"dense", "separate", "control", "pruned"}
    assert set(rows["network"]) == networks
    assert set(rows["distribution"]) == {"nominal", "gaussian_noise", "contrast"}
    assert len(rows) == 3 * len(networks)
    assert (rows["samples"] == 40).all()
    assert set(rows["severity"]) == {0, 3}
    assert (rows["side"] == rows["distribution"].map({"nominal": "train"}).fillna("test")).all()
    pruned = rows[rows["network"] == "pruned"]
    assert set(pruned["event"]) == {1.0}
    assert (pruned["keep"] <= pruned["keep_target"]).all()


def test_the_dense_network_agrees_with_itself(evaluated: Path):
    rows = pd.read_csv(evaluated / "shifts.csv").set_index("network")
    assert (rows.loc["dense", "agreement"] == 1).all()
    assert (rows.loc["dense", "distance"] == 0).all()
    assert (rows.loc["separate", "agreement_separate"] == 1).all()
    assert (rows.loc["control", "distance"] > 0).all()


def test_noise_and_features_have_their_files(evaluated: Path):
    noise = pd.read_csv(evaluated / "noise.csv")
    assert noise.groupby(["network"])["eps"].nunique().eq(15).all()
    assert set(noise["network"]) == {"separate", "control", "pruned"}
    features = pd.read_csv(evaluated / "features.csv")
    networks = {"dense", "separate"}
    assert networks < set(features["ranked_by"]) == set(features["judged_by"])
    assert len(features) == features["ranked_by"].nunique() ** 2


def test_the_report_says_what_was_evaluated(evaluated: Path):
    told = json.loads((evaluated / "report.json").read_text())["extra"]["evaluation"]
    assert told["images"] == 40
    assert {"name": "contrast", "severity": 3} in told["distributions"]


def test_nominal_accuracy_is_that_of_the_test(tmp_path: Path):
    cfg = compose("train", *DIGITS, "evaluation=corruptions", TWO, "trainer.limit_test_batches=1.0")
    run(cfg, tmp_path)
    rows = pd.read_csv(tmp_path / "shifts.csv")
    nominal = rows[rows["distribution"] == "nominal"].set_index("network")["accuracy"]
    found = json.loads((tmp_path / "report.json").read_text())
    for name, part in (("dense", "dense"), ("control", "control"), ("pruned", "final")):
        assert nominal[name] == pytest.approx(found[part]["metrics"]["test/accuracy"], abs=1e-6)


@pytest.mark.slow
def test_a_finished_run_is_evaluated_and_not_trained_again(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = (*DIGITS, "name=s")
    assert sweep("seed=0,1", job=job) == 0
    checkpoints = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.ckpt")}
    with pytest.raises(FileNotFoundError, match="evaluation=corruptions"):
        shifts("outputs/s")
    asked = ("evaluation=corruptions", TWO, "evaluation.separate=7")
    assert sweep("seed=0,1", *asked, job=job) == 0
    frame = shifts("outputs/s")
    assert set(frame["seed"]) == {0, 1}
    assert set(frame["network"]) == {"dense", "control", "separate", "pruned"}
    assert {p: p.stat().st_mtime_ns for p in checkpoints} == checkpoints
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("shifts.csv")}
    assert sweep("seed=0,1", *asked, job=job) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.slow
def test_evaluation_changes_no_number_of_the_run(evaluated: Path, tmp_path: Path):
    run(compose("train", *DIGITS), tmp_path)
    mine, theirs = (
        torch.load(folder / "checkpoints" / "final.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path, evaluated)
    )
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.slow
def test_a_run_pruned_at_the_start_is_compared_with_its_control(tmp_path: Path):
    short = ("trainer=cpu", "+trainer.limit_train_batches=2", "epochs=2", "schedule.epoch=0")
    run(compose("train", *DIGITS, *short, "evaluation=corruptions", TWO), tmp_path)
    rows = pd.read_csv(tmp_path / "shifts.csv").set_index(["network", "distribution"])
    dense, control = rows.loc["dense", "accuracy"], rows.loc["control", "accuracy"]
    assert dense.equals(control)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["evaluation=corruptions", "evaluation.images=0"], "whole number from 1"),
        (["evaluation.delta=-1"], "number from 0 on"),
        (
            ["evaluation=corruptions", "evaluation.shifts.corruptions.names=[fogg]"],
            "fogg",
        ),
        (["evaluation=corruptions", "data=moons", "model=mlp"], "images"),
        (["evaluation=corruptions", "data=gaussians", "model=cnf", "task=density"], "classifiers"),
        (["evaluation=cifar10_shifted"], "CIFAR"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(
    overrides: list[str], sentence: str, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-prune", "trainer=debug", "logger=none", *overrides])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert sentence in told[0]
    assert not list(tmp_path.rglob("*.ckpt"))
