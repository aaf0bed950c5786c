"""The command that exports a run: files that compute what the run's network does, and why not."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lightning_prune.cli import export, train
from lightning_prune.cli.run import run
from lightning_prune.configs import compose
from lightning_prune.export import load_thin

DEBUG = [
    "trainer=debug", "data=synthetic", "data.batch_size=16", "data.samples=64", "control=false",
    "logger=none", "model.shortcut=B",
]  # fmt: skip
FLOW = [
    "experiment=sparse_flows/gaussians", "epochs=3", "schedule.first=1", "schedule.every=1",
    "schedule.keeps=[0.5, 0.2]", "model.solver.steps=2", "model.solver.compiled=false",
    "data.samples=300", "data.batch_size=90", "model.fields.hidden=[8,8]", "control=false",
    "method=filter_norm", "logger=none",
]  # fmt: skip


def trained(folder: Path, *overrides: str) -> Path:
    """The folder of a finished run."""
    before = sys.argv
    sys.argv = ["lightning-prune", *overrides, f"hydra.run.dir={folder}"]
    try:
        train.main()
    finally:
        sys.argv = before
    return folder


def written(folder: Path) -> dict:
    return json.loads((folder / "export.json").read_text())


@pytest.fixture(scope="module")
def filters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose filters were pruned."""
    folder = tmp_path_factory.mktemp("filters")
    return trained(folder, *DEBUG, "method=filter_norm", "schedule.keep=0.3")


@pytest.mark.slow
def test_every_format_of_a_run_with_fewer_filters(filters: Path, capsys):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    export.main([str(filters)])
    folder = filters / "export"
    assert {path.name for path in folder.iterdir()} == {
        "export.csv", "export.json", "model.onnx", "model.pt2", "thin",
    }  # fmt: skip
    found = written(folder)
    rows = found["rows"]
    assert list(rows) == ["dense", "masked", "thin", "onnx", "program"]
    assert (found["schema"], found["method"]) == (1, "filter_norm")
    assert found["main_metric"] == "test/accuracy"
    scores = {name: row["metrics"]["test/accuracy"] for name, row in rows.items()}
    assert scores["masked"] == scores["thin"] == scores["onnx"] == scores["program"]
    report = json.loads((filters / "report.json").read_text())
    assert scores["masked"] == report["final"]["metrics"]["test/accuracy"]
    assert scores["dense"] == report["dense"]["metrics"]["test/accuracy"]
    assert rows["thin"]["params"] < 0.35 * rows["masked"]["params"]
    assert rows["thin"]["params"] == rows["thin"]["nonzero"]
    assert rows["thin"]["macs"] < rows["masked"]["macs"] == rows["dense"]["macs"]
    assert all(row["latency_ms"] > 0 for row in rows.values())
    assert rows["onnx"]["bytes"] == (folder / "model.onnx").stat().st_size
    assert rows["onnx"]["error"] < 1e-4
    with (folder / "export.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["network"] for row in table] == list(rows)
    assert table[2]["params"] == str(rows["thin"]["params"])
    said = capsys.readouterr().out
    assert "files and tables" in said
    assert "graph(" not in said
    text = (folder / "export.json").read_text() + (folder / "thin" / "widths.json").read_text()
    assert str(filters) not in text
    assert str(Path.home()) not in text
    assert b"site-packages" not in (folder / "model.onnx").read_bytes()


@pytest.mark.slow
def test_the_thin_folder_needs_no_run(filters: Path, tmp_path: Path):
    export.main([str(filters), "--output", str(tmp_path / "out"), "--formats", "thin"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "export.csv", "export.json", "thin",
    }  # fmt: skip
    net = load_thin(tmp_path / "out" / "thin").eval()
    rows = written(tmp_path / "out")["rows"]
    assert sum(p.numel() for p in net.parameters()) == rows["thin"]["params"]
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert list(rows) == ["dense", "masked", "thin"]


@pytest.mark.slow
def test_the_checkpoint_of_an_interrupted_run(filters: Path, tmp_path: Path, capsys):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(filters, folder)
    (folder / "checkpoints" / "final.ckpt").unlink()
    shutil.rmtree(folder / "export", ignore_errors=True)
    export.main([str(folder), "--formats", "thin"])
    assert "the network is that of" in " ".join(written(folder / "export")["notes"])
    dense = folder / "checkpoints" / "dense.ckpt"
    export.main([str(folder), "--formats", "thin", "--checkpoint", str(dense)])
    found = written(folder / "export")
    assert found["checkpoint"] == "dense.ckpt"
    assert found["rows"]["thin"]["params"] == found["rows"]["dense"]["params"]
    (folder / "checkpoints" / "cycles" / "event_00.pt").unlink()
    export.main([str(folder), "--formats", "thin"])
    assert "random weights" in capsys.readouterr().out


@pytest.mark.slow
def test_single_zeros_make_nothing_smaller_and_it_is_said(tmp_path: Path, capsys):
    trained(tmp_path, *DEBUG, "method=magnitude", "schedule.keep=0.6")
    export.main([str(tmp_path), "--formats", "thin"])
    rows = written(tmp_path / "export")["rows"]
    assert rows["thin"]["params"] == rows["dense"]["params"]
    assert rows["thin"]["nonzero"] == rows["masked"]["nonzero"] < rows["dense"]["nonzero"]
    said = " ".join(capsys.readouterr().out.split())
    assert "the thin network is the masked one: No filter of this ResNet is zero" in said
    assert (tmp_path / "export" / "thin" / "widths.json").is_file()


@pytest.mark.slow
def test_factors_become_layers(tmp_path: Path):
    trained(tmp_path, *DEBUG, "method=alds", "schedule.keep=0.5")
    export.main([str(tmp_path), "--formats", "thin"])
    found = written(tmp_path / "export")
    assert list(found["rows"]) == ["dense", "factored", "thin"]
    assert found["rows"]["thin"]["params"] < 0.55 * found["rows"]["dense"]["params"]
    assert not any("masked one" in note for note in found["notes"])
    net = load_thin(tmp_path / "export" / "thin")
    assert sum(p.numel() for p in net.parameters()) == found["rows"]["thin"]["params"]


@pytest.mark.slow
def test_a_flow_is_thin_and_says_what_it_cannot_be(tmp_path: Path, capsys):
    run(compose("train", *FLOW), tmp_path)
    capsys.readouterr()
    export.main([str(tmp_path)])
    said = capsys.readouterr()
    found = written(tmp_path / "export")
    assert list(found["rows"]) == ["dense", "masked", "thin"]
    thin, masked = found["rows"]["thin"], found["rows"]["masked"]
    assert thin["params"] < masked["params"]
    assert thin["metrics"]["test/nll"] == pytest.approx(masked["metrics"]["test/nll"], abs=1e-4)
    for name in ("model.onnx", "model.pt2"):
        (note,) = [note for note in found["notes"] if name in note]
        assert "Torch cannot export this CNF" in note
        assert "\n" not in note
    assert "Traceback" not in said.out + said.err
    assert "aten" not in said.out + said.err
    points = torch.randn(3, 2)
    assert load_thin(tmp_path / "export" / "thin").log_prob(points).shape == (3,)


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        export.main(list(arguments))
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.count("\n") == 1
    assert said.startswith("lightning-prune-export: ")
    return said


def test_what_is_no_run_is_named(tmp_path: Path, capsys):
    assert "there is no such folder" in refused(capsys, str(tmp_path / "gone"))
    assert "it has no config.yaml" in refused(capsys, str(tmp_path))
    inner = tmp_path / "a" / "run"
    inner.mkdir(parents=True)
    config = inner / "config.yaml"
    config.write_text("a: 1\n")
    assert f"such as {inner}" in refused(capsys, str(tmp_path))
    assert "is no config of a run of lightning-prune" in refused(capsys, str(inner))
    config.write_text("a: [1\n")
    assert "config.yaml is torn" in refused(capsys, str(inner))
    config.write_text(OmegaConf.to_yaml(compose("train", *DEBUG), resolve=True))
    assert "has no whole checkpoint yet" in refused(capsys, str(inner))
    missing = str(tmp_path / "gone.ckpt")
    assert "There is no checkpoint" in refused(capsys, str(inner), "--checkpoint", missing)
    (tmp_path / "torn.ckpt").write_text("torn")
    torn = str(tmp_path / "torn.ckpt")
    assert "cannot be used" in refused(capsys, str(inner), "--checkpoint", torn)


def test_arguments_out_of_range(tmp_path: Path, capsys):
    assert "invalid choice: 'tflite'" in refused(capsys, str(tmp_path), "--formats", "tflite")
    assert "required: RUN" in refused(capsys)
    assert "invalid int value" in refused(capsys, str(tmp_path), "--opset", "new")


@pytest.mark.slow
def test_a_checkpoint_and_a_device_that_do_not_fit(filters: Path, tmp_path: Path, capsys):
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": torch.nn.Linear(2, 2).state_dict()}, other)
    told = refused(capsys, str(filters), "--checkpoint", str(other))
    assert "other.ckpt' is of another Classification: it lacks" in told
    assert "cannot be used here" in refused(capsys, str(filters), "--device", "warp")
    assert "is no folder; give --output" in refused(capsys, str(filters), "--output", str(other))


@pytest.mark.slow
def test_help_is_answered_without_torch():
    code = (
        "import sys\n"
        "from lightning_prune.cli import export\n"
        "try:\n"
        "    export.main(['--help'])\n"
        "except SystemExit as ended:\n"
        "    assert ended.code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--formats" in done.stdout


@pytest.mark.slow
def test_a_network_that_was_thinned_in_training(tmp_path: Path):
    trained(tmp_path, *DEBUG, "method=filter_norm", "schedule.keep=0.3", "thin=true")
    export.main([str(tmp_path), "--formats", "thin"])
    found = written(tmp_path / "export")
    assert list(found["rows"]) == ["dense", "thin"]
    assert found["rows"]["thin"]["params"] < 0.35 * found["rows"]["dense"]["params"]
    assert not any("masked one" in note for note in found["notes"])
    net = load_thin(tmp_path / "export" / "thin")
    assert sum(p.numel() for p in net.parameters()) == found["rows"]["thin"]["params"]
