"""The run folder: whole files, one report, tables that say what the events said."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import pytest

from lightning_prune.folder import EMPTY, SCHEMA, RunFolder, load_report

LAYER = {"name": "fc", "units": 4, "kept": 2, "params": 8, "nonzero": 4}
EVENTS = [
    {
        "epoch": 3,
        "step": 30,
        "keep_target": 0.5,
        "keep": 0.5,
        "params": 10,
        "nonzero": 5,
        "seconds": 0.1,
        "metrics": {"val/loss": 1.5},
        "notes": ["a floor", "a layer"],
        "layers": [LAYER, {**LAYER, "name": "out, last"}],
    },
    {"epoch": 6, "step": 60, "keep_target": 0.2, "keep": 0.2, "metrics": {"test/accuracy": 0.9}},
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_events_are_a_row_each_with_their_metrics_as_columns(tmp_path: Path):
    first, second = rows(RunFolder(tmp_path).write_events(EVENTS))
    assert (first["event"], first["epoch"], first["keep"]) == ("1", "3", "0.5")
    assert (first["val/loss"], second["val/loss"]) == ("1.5", "")
    assert second["test/accuracy"] == "0.9"
    assert first["notes"] == "a floor; a layer"


def test_layers_are_a_row_each_and_event(tmp_path: Path):
    read = rows(RunFolder(tmp_path).write_layers(EVENTS))
    assert [(row["event"], row["name"], row["kept"]) for row in read] == [
        ("1", "fc", "2"),
        ("1", "out, last", "2"),
    ]


def test_the_first_report_has_every_key(tmp_path: Path):
    report = RunFolder(tmp_path / "new").update_report(seed=3)
    assert set(report) == set(EMPTY)
    assert (report["schema"], report["seed"], report["bounds"]) == (SCHEMA, 3, None)


def test_parts_replace_parts_and_extra_grows(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.update_report(final={"params": 1, "nonzero": 1}, extra={"a": 1})
    folder.update_report(final={"params": 2}, extra={"b": 2})
    report = load_report(tmp_path)
    assert report["final"] == {"params": 2}
    assert report["extra"] == {"a": 1, "b": 2}


def test_numbers_of_any_kind_become_json(tmp_path: Path):
    import numpy as np
    import torch

    folder = RunFolder(tmp_path)
    folder.update_report(extra={"t": torch.tensor(2), "n": np.float64(0.5), "bad": math.nan})
    assert load_report(tmp_path)["extra"] == {"t": 2, "n": 0.5, "bad": None}
    with pytest.raises(TypeError, match="numbers, strings, lists and dicts"):
        folder.update_report(extra={"x": object()})


def test_a_torn_report_is_named_set_aside_and_written_anew(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.update_report(seed=1)
    whole = (tmp_path / "report.json").read_text()
    (tmp_path / "report.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is no report"):
        load_report(tmp_path)
    with pytest.warns(UserWarning, match=r"report\.json is torn"):
        folder.update_report(seed=2)
    assert load_report(tmp_path)["seed"] == 2
    assert (tmp_path / "report.json.torn").read_text() == whole[: len(whole) // 2]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = RunFolder(tmp_path)
    folder.update_report(seed=1)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        folder.update_report(seed=2)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 1


def test_files_can_be_read_by_others_as_the_umask_says(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.update_report(seed=1)
    (tmp_path / "plain").touch()
    assert (tmp_path / "report.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_report_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="There is no report"):
        load_report(tmp_path)
