"""The bench: what it measures of which folder, what it writes, and mistakes in one line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_prune.cli import bench
from lightning_prune.cli.bench import kind, main
from lightning_prune.cli.speed import _bytes, speed_table
from lightning_prune.cli.train import main as train

DEBUG = ["trainer=debug", "data=synthetic", "data.batch_size=16", "data.samples=64"]
QUICK = ["--repeats", "2", "--batches", "1", "2"]


def run(folder: Path, *overrides: str) -> Path:
    """A run in debug."""
    before = sys.argv
    sys.argv = ["lightning-prune", *DEBUG, "control=false", f"hydra.run.dir={folder}", *overrides]
    try:
        train()
    finally:
        sys.argv = before
    return folder


@pytest.fixture(scope="module")
def filters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that removed filters."""
    folder = tmp_path_factory.mktemp("bench") / "filters"
    return run(folder, "method=filter_norm", "schedule.keep=0.5")


def rows(file: Path) -> list[dict]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


@pytest.mark.slow
def test_a_run_is_measured_dense_masked_and_thin(filters: Path, tmp_path: Path, capsys):
    main([str(filters), *QUICK, "--output", str(tmp_path / "all.csv")])
    said = capsys.readouterr().out
    assert all(name in said for name in ("dense", "masked", "thin", "params", "quartiles"))
    found = rows(filters / "speed.csv")
    assert rows(tmp_path / "all.csv") == found
    assert [(row["name"], row["batch"]) for row in found] == [
        (name, batch) for batch in "12" for name in ("dense", "masked", "thin")
    ]
    dense, masked, thin = found[:3]
    assert dense["params"] == masked["params"]
    assert int(masked["nonzero"]) <= int(thin["params"]) < int(dense["params"])
    assert dense["macs"] == masked["macs"]
    assert thin["macs"] <= masked["macs_effective"]
    assert int(thin["bytes"]) < int(dense["bytes"])
    assert int(thin["memory_bytes"]) < int(dense["memory_bytes"])
    assert all(float(row["low_ms"]) <= float(row["high_ms"]) for row in found)
    assert {row["times_as_fast"] for row in found if row["name"] == "dense"} == {"1.0"}


@pytest.mark.slow
def test_the_report_of_a_run_has_the_rows(filters: Path):
    before = json.loads((filters / "report.json").read_text())
    main([str(filters), "--repeats", "2", "--batches", "3"])
    after = json.loads((filters / "report.json").read_text())
    assert [(row["name"], row["batch"]) for row in after["extra"]["speed"]] == [
        ("dense", 3), ("masked", 3), ("thin", 3)
    ]  # fmt: skip
    assert isinstance(after["extra"]["speed_notes"], list)
    for report in (before, after):
        for name in ("speed", "speed_notes"):
            report["extra"].pop(name, None)
    assert before == after


@pytest.mark.slow
def test_single_weights_have_no_thin_network_and_it_is_said(tmp_path: Path, capsys):
    folder = run(tmp_path / "weights", "method=magnitude", "schedule.keep=0.95")
    capsys.readouterr()
    main([str(folder), *QUICK])
    assert {row["name"] for row in rows(folder / "speed.csv")} == {"dense", "masked"}
    assert "note: there is no thin network: No filter of this" in capsys.readouterr().out


@pytest.mark.slow
def test_a_thin_module_is_compared_with_what_it_was_cut_from(tmp_path: Path, capsys):
    from lightning_prune.export import save_thin
    from lightning_prune.models import LeNet5
    from lightning_prune.prune import prune
    from lightning_prune.thinning import thin

    example = torch.randn(2, 1, 28, 28)
    model = LeNet5().eval()
    prune(model, "filter_norm", 0.4, example=example)
    dense = {"_target_": "lightning_prune.models.LeNet5"}
    folder = save_thin(thin(model, example), tmp_path / "thin", example=example, dense=dense)
    main([str(folder), *QUICK, "--output", str(tmp_path / "all.csv")])
    one, two = rows(tmp_path / "all.csv")[:2]
    assert (one["name"], two["name"]) == ("dense", "thin")
    assert int(two["params"]) < int(one["params"])
    assert "random weights" in capsys.readouterr().out
    assert not (folder / "speed.csv").exists()


@pytest.mark.slow
def test_a_model_of_torchvision_is_pruned_on_the_way(tmp_path: Path):
    output = tmp_path / "all.csv"
    main(["torchvision:squeezenet1_1@32", *QUICK, "--keep", "0.5", "--output", str(output)])
    assert [row["name"] for row in rows(output)] == ["dense", "masked", "thin"] * 2


MISTAKES = {
    "missing": "There is no folder missing",
    ". --repeats 1": "--repeats takes whole numbers from 2 on, not 1",
    ". --batches 0": "--batches takes whole numbers from 1 on, not [0]",
    ". --keep 2": "--keep is a share in (0, 1], not 2",
    ". --output no/such.csv": "There is no folder no to write into",
    "torchvision:resnet18": "is no torchvision:NAME@PIXELS",
    "torchvision:@32": "is no torchvision:NAME@PIXELS",
    ".": "holds neither a run (config.yaml) nor a thin module (widths.json)",
    "torchvision:resnet1@32": "Unknown model resnet1",
    "torchvision:alexnet@8": "alexnet does not take images of 8 pixels",
    "torchvision:squeezenet1_1@32 --device moon": "The device 'moon' cannot be used here",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_answered_in_one_line(arguments: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 1
    assert said.startswith("lightning-prune-bench: ")
    assert MISTAKES[arguments] in said
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_is_not_finished_is_said(filters: Path, tmp_path: Path, capsys):
    (tmp_path / "config.yaml").write_text((filters / "config.yaml").read_text())
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "is not finished: it has no final.ckpt" in capsys.readouterr().err


def test_kinds(tmp_path: Path):
    assert kind("torchvision:resnet18@64") == "torchvision"
    for name, wanted in (("config.yaml", "run"), ("widths.json", "thin")):
        (tmp_path / name).write_text("{}")
        assert kind(str(tmp_path)) == wanted


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from lightning_prune.cli.bench import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pytorch_lightning', 'hydra'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert bench.KINDS.split()[-1] in " ".join(done.stdout.split())


def test_the_table_says_what_does_not_depend_on_the_batch_once():
    row = {
        "name": "dense", "params": 12345, "nonzero": 1234, "macs": None, "bytes": 49380,
        "batch": 1, "median_ms": 1.5, "low_ms": 1.25, "high_ms": 2.0, "memory_bytes": None,
        "times_as_fast": 1.0, "device": "cpu", "threads": 1,
    }  # fmt: skip
    table = speed_table("net", [row, row | {"batch": 16}])
    assert table.title == "net (cpu, threads 1)"
    columns = [list(column.cells) for column in table.columns]
    assert columns[:6] == [
        ["dense", ""], ["12,345", ""], ["1,234", ""], ["", ""], ["49.4 kB", ""], ["1", "16"]
    ]  # fmt: skip
    assert columns[6:] == [["1.5"] * 2, ["1.25-2"] * 2, ["", ""], ["1.00"] * 2]


def test_bytes_are_readable():
    assert [_bytes(n) for n in (12, 1500, 46.8e6, 3e12)] == [
        "12 B",
        "1.5 kB",
        "46.8 MB",
        "3e+03 GB",
    ]
