"""Reading runs: what counts, what is counted once, and what is named because it cannot be read."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from pages import KEEPS, LAYERS, MACS, report, sweep, write

from lightning_prune.page.reading import read_runs


def test_a_record_has_what_the_report_says(tmp_path: Path):
    write(tmp_path / "a", report(seed=2), "method=magnitude", "schedule.keeps=[0.5,0.2,0.1]")
    (record,) = read_runs([tmp_path]).records
    assert (record.method, record.seed, record.metric) == ("magnitude", 2, "test/accuracy")
    assert record.direction == "max"
    assert record.command == ("method=magnitude", "schedule.keeps=[0.5,0.2,0.1]")
    assert record.layers == LAYERS
    assert [point.keep_target for point in record.points] == list(KEEPS)
    assert [point.macs for point in record.points] == pytest.approx(KEEPS)
    assert list(record.points[1].layers) == pytest.approx([0.2] * len(LAYERS))
    assert record.dense["macs"] == MACS


def test_what_regrew_is_counted_after_training(tmp_path: Path):
    made = report()
    made["events"][-1]["nonzero"] = made["events"][-1]["macs_effective"] = 1
    write(tmp_path / "a", made)
    (record,) = read_runs([tmp_path]).records
    assert record.points[-1].params == pytest.approx(KEEPS[-1])
    assert record.points[-1].macs == pytest.approx(KEEPS[-1])


def test_latency_is_that_of_the_thin_network_where_there_is_one(tmp_path: Path):
    made = report()
    made["final"]["thin"] = {"params": 100, "latency_ms": 0.5, "bytes": 400}
    write(tmp_path / "a", made)
    assert read_runs([tmp_path]).records[0].final["latency_ms"] == 0.5


def broken(root: Path) -> Path:
    """One good run, and one of every kind that cannot be read."""
    write(root / "good", report())
    write(root / "torn", report(), identity="torn")
    (root / "torn" / "report.json").write_text('{"schema": 1, "events": [{"ke')
    write(root / "missing", report(), identity="missing")
    (root / "missing" / "report.json").unlink()
    write(root / "running", report(), identity="running")
    (root / "running" / "run.json").write_text('{"status": "running"}')
    write(root / "failed", report(), identity="failed")
    told = {"status": "failed", "sentence": "There is no method x."}
    (root / "failed" / "run.json").write_text(json.dumps(told))
    write(root / "begun", report() | {"final": None}, identity="begun")
    (root / "begun" / "run.json").unlink()
    write(root / "empty", report() | {"events": []}, identity="empty")
    write(root / "list", report(), identity="list")
    (root / "list" / "report.json").write_text("[1, 2]")
    write(root / "strange", report() | {"events": [{"loss": 1}]}, identity="strange")
    return root


REASONS = {
    "torn": "its report.json is torn, or another program's",
    "missing": "it has no report.json",
    "running": "it is not finished",
    "failed": "it failed: There is no method x.",
    "begun": "it is not finished",
    "empty": "it has no event",
    "list": "its report.json is torn, or another program's",
    "strange": "its report.json is another program's (KeyError('keep_target'))",
}


def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path):
    found = read_runs([broken(tmp_path)])
    assert [record.path.name for record in found.records] == ["good"]
    assert {Path(path).name: why for path, why in found.unread} == REASONS


def test_nothing_is_written_into_the_folders_of_runs(tmp_path: Path):
    broken(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    read_runs([tmp_path])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_report_of_a_callback_is_a_run(tmp_path: Path):
    made = report()
    own = {"events": made["events"], "layers": made["layers"], "schema": 1}
    for event in own["events"]:
        event["metrics"] = {"train/loss": 0.1, "val/loss": 0.5, "val/accuracy": 0.8}
    (tmp_path / "logs").mkdir()
    place = tmp_path / "mine"
    place.mkdir()
    (place / "report.json").write_text(json.dumps(own))
    found = read_runs([tmp_path])
    (record,) = found.records
    assert (record.method, record.metric, record.seed) == ("magnitude", "val/accuracy", None)
    assert record.points[0].params == pytest.approx(KEEPS[0])
    (note,) = found.notes
    assert note.startswith("No config is known of ")
    assert "mine" in note


def test_inner_folders_are_no_runs(tmp_path: Path):
    write(tmp_path / "a", report())
    for name in ("control", "dense", "earlier", "checkpoints", "plots", "logs"):
        write(tmp_path / "a" / name, report(), identity=name)
    assert len(read_runs([tmp_path]).records) == 1


def test_a_run_that_is_found_twice_counts_once(tmp_path: Path):
    write(tmp_path / "a", report(), identity="same")
    write(tmp_path / "b", report(), identity="same")
    other = report()
    other["events"][-1]["metrics"]["test/accuracy"] = 0.123
    write(tmp_path / "c", other, identity="same")
    found = read_runs([tmp_path, tmp_path / "a"])
    assert [record.path.name for record in found.records] == ["a"]
    assert [Path(path).name for path, _ in found.repeated] == ["b", "c"]
    (note,) = found.notes
    assert "are the same run, but end at 0.123 and" in note


def test_another_metric_can_be_read(tmp_path: Path):
    write(tmp_path / "a", report())
    (record,) = read_runs([tmp_path], "test/other").records
    assert record.metric == "test/other"
    assert record.dense["metric"] == pytest.approx(0.45)
    with pytest.raises(ValueError, match="no event has the metric test/none"):
        read_runs([tmp_path], "test/none")


def test_progress_is_told(tmp_path: Path):
    sweep(tmp_path)
    told = []
    read_runs([tmp_path], progress=lambda done, runs: told.append((done, runs)))
    assert told == [(number, 6) for number in range(1, 7)]


def test_no_folder_and_no_run_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        read_runs([tmp_path / "none"])
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        read_runs([tmp_path])


def test_numbers_that_are_missing_stay_missing(tmp_path: Path):
    made = report()
    made["events"][0]["metrics"] = {}
    made["events"][0]["layers"] = made["events"][0]["layers"][:1]
    made["events"][0]["macs_effective"] = None
    write(tmp_path / "a", made)
    first = read_runs([tmp_path]).records[0].points[0]
    assert first.metric is None
    assert first.macs is None
    assert [math.isnan(share) for share in first.layers] == [False, True, True, True]


def test_reading_imports_no_torch(tmp_path: Path):
    sweep(tmp_path)
    code = (
        "import sys\n"
        "from lightning_prune.page.curves import frame, spread\n"
        "from lightning_prune.page.groups import find_groups\n"
        "from lightning_prune.page.reading import read_runs\n"
        f"(group,) = find_groups(read_runs([{str(tmp_path)!r}]).records)\n"
        "assert len(spread(frame(group.curves), 'metric')) == 3\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
