"""The command: a run leaves what it says, and numbers that a reader can check with torch alone."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_prune.cli.train import main

DEBUG = ["trainer=debug", "data=synthetic", "data.batch_size=16", "data.samples=64"]


def command(*overrides: str) -> None:
    """What `lightning-prune ...` does, in this process."""
    before = sys.argv
    sys.argv = ["lightning-prune", *overrides]
    try:
        main()
    finally:
        sys.argv = before


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run in debug, with its control."""
    folder = tmp_path_factory.mktemp("run")
    command(*DEBUG, f"hydra.run.dir={folder}")
    return folder


def test_the_run_folder_has_what_it_should(finished: Path):
    for name in (
        "config.yaml", "events.csv", "layers.csv", "report.json", "plots/curve.png",
        "plots/layers.png", "checkpoints/last.ckpt", "checkpoints/dense.ckpt",
        "checkpoints/final.ckpt", "control/checkpoints/final.ckpt", "logs/version_0/metrics.csv",
    ):  # fmt: skip
        assert (finished / name).is_file(), name


def test_the_report_has_its_schema(finished: Path):
    found = report(finished)
    size = {"params", "nonzero", "macs", "macs_effective", "latency_ms", "bytes", "metrics"}
    assert found["schema"] == 1
    assert (found["method"], found["seed"], found["measure"]) == ("magnitude", 0, "params")
    assert all(set(found[part]) == size for part in ("dense", "control", "final"))
    assert (found["bounds"], found["extra"]["main_metric"]) == (None, "test/accuracy")
    assert [event["keep_target"] for event in found["events"]] == pytest.approx([0.1**0.2, 0.1])
    for event in found["events"]:
        assert {"epoch", "step", "keep_target", "keep", "seconds", "metrics"} <= set(event)
        assert {"val/accuracy", "test/accuracy"} <= set(event["metrics"])
    assert found["events"][-1]["metrics"].items() >= found["final"]["metrics"].items()
    assert found["layers"] == found["events"][-1]["layers"]


def test_counts_are_those_of_the_saved_weights(finished: Path):
    found, state = report(finished), weights(finished / "checkpoints" / "final.ckpt")
    learned = {
        name: tensor for name, tensor in state.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }  # fmt: skip
    final = found["final"]
    assert final["params"] == sum(tensor.numel() for tensor in learned.values())
    assert final["nonzero"] == sum(int((tensor != 0).sum()) for tensor in learned.values())
    assert final["nonzero"] == int(0.1 * final["params"]), "unstructured keep is exact"
    assert final["bytes"] == sum(t.numel() * t.element_size() for t in state.values())
    for layer in found["layers"]:
        weight = state[f"{layer['name']}.weight"]
        counts = (layer["params"], layer["nonzero"])
        assert counts == (weight.numel(), int((weight != 0).sum())), layer["name"]


def test_the_control_is_dense_and_shares_the_dense_phase(finished: Path):
    found = report(finished)
    assert found["control"]["nonzero"] > 0.99 * found["control"]["params"]
    dense = torch.load(finished / "checkpoints/dense.ckpt", weights_only=True)
    control = torch.load(finished / "control/checkpoints/final.ckpt", weights_only=True)
    final = torch.load(finished / "checkpoints/final.ckpt", weights_only=True)
    assert control["global_step"] == final["global_step"] > dense["global_step"]
    assert report(finished)["dense"]["metrics"] != {}


def test_tables_say_what_the_report_says(finished: Path):
    with (finished / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    events = report(finished)["events"]
    assert [float(row["keep"]) for row in rows] == [event["keep"] for event in events]
    last = events[-1]["metrics"]["test/accuracy"]
    assert float(rows[-1]["test/accuracy"]) == last


def test_the_config_is_resolved_and_of_no_machine(finished: Path):
    text = (finished / "config.yaml").read_text()
    cfg = yaml.safe_load(text)
    assert cfg == report(finished)["config"]
    assert cfg["trainer"]["max_epochs"] == cfg["epochs"] == 105
    assert "${" not in text
    assert str(finished) not in text
    assert str(Path.home()) not in text


def test_a_resumed_run_is_the_uninterrupted_one(finished: Path, tmp_path: Path):
    """Stopped after the second of three epochs; another folder takes the checkpoints over."""
    cut = tmp_path / "cut"
    shutil.copytree(finished / "checkpoints", cut / "checkpoints")
    for name in ("final.ckpt", "last.ckpt"):
        (cut / "checkpoints" / name).unlink()
    command(*DEBUG, f"hydra.run.dir={tmp_path / 'again'}", f"ckpt_path={cut}")
    for name in ("checkpoints/final.ckpt", "control/checkpoints/final.ckpt"):
        first, second = weights(finished / name), weights(tmp_path / "again" / name)
        assert all(torch.equal(first[key], second[key]) for key in first), name
    kept = [
        [event["keep"] for event in report(f)["events"]] for f in (finished, tmp_path / "again")
    ]
    assert kept[0] == kept[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["alds_plus", "messi"])
def test_a_run_whose_checkpoints_hold_factors_goes_on_too(method: str, tmp_path: Path):
    low_rank = (*DEBUG, f"method={method}", "schedule.keep=0.6", "control=false")
    whole, cut, again = (tmp_path / name for name in ("whole", "cut", "again"))
    command(*low_rank, f"hydra.run.dir={whole}")
    shutil.copytree(whole / "checkpoints", cut / "checkpoints")
    for name in ("final.ckpt", "last.ckpt"):
        (cut / "checkpoints" / name).unlink()
    command(*low_rank, f"hydra.run.dir={again}", f"ckpt_path={cut}")
    first, second = (weights(folder / "checkpoints" / "final.ckpt") for folder in (whole, again))
    assert any("original0" in key for key in first)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_finished_stage_is_not_done_again(finished: Path, tmp_path: Path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*.ckpt")}
    shutil.rmtree(folder / "plots")
    command(*DEBUG, f"hydra.run.dir={folder}", "ckpt_path=last")
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.ckpt")} == times
    assert (folder / "plots" / "curve.png").is_file()
    assert report(folder)["final"]["metrics"] == report(finished)["final"]["metrics"]
    assert capsys.readouterr().out.count("finished already") == 2


def test_a_torn_checkpoint_is_named_and_the_one_before_used(finished: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(finished / "checkpoints", folder / "checkpoints")
    for name in ("final.ckpt", "last.ckpt"):
        path = folder / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-1000])
    with (
        pytest.warns(UserWarning, match=r"final\.ckpt"),
        pytest.warns(UserWarning, match=r"last\.ckpt"),
    ):
        command(*DEBUG, f"hydra.run.dir={folder}", "ckpt_path=last", "control=false")
    first, second = (weights(f / "checkpoints/final.ckpt") for f in (finished, folder))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert report(folder)["control"] is None


def test_a_second_run_sets_the_first_aside(finished: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    command(*DEBUG, f"hydra.run.dir={folder}", "control=false", "seed=1")
    assert report(folder / "earlier" / "1") == report(finished)
    assert report(folder)["seed"] == 1
    assert not (folder / "control").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["method=none"],
        ["schedule=one_shot", "schedule.epoch=0", "trainer.max_epochs=2", "debug=false"],
        ["rewind=none", "logger=none", "optim=adam"],
        ["schedule=steps", "schedule.keeps={1: 0.5, 3: 0.2}", "schedule.unit=step", "debug=false",
         "trainer.max_epochs=2"],
        ["method=random_filters", "measure=macs", "schedule.keep=0.5", "layers.exclude=[net.conv]"],
    ],
    ids=["dense", "at_initialisation", "plain", "steps", "filters"],
)  # fmt: skip
def test_other_runs(overrides: list[str], tmp_path: Path):
    command(*DEBUG, *overrides, f"hydra.run.dir={tmp_path}")
    found = report(tmp_path)
    assert found["final"]["metrics"]["test/accuracy"] is not None
    assert found["dense"] is not None
    if "method=none" in overrides:
        assert found["control"] is None
        assert found["final"]["nonzero"] > 0.99 * found["final"]["params"]
    else:
        assert found["control"]["nonzero"] > found["final"]["nonzero"]
        assert all("test/accuracy" in event["metrics"] for event in found["events"])
