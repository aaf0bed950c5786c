"""Curves: a tidy frame from run folders, and its means worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lightning_prune import curves
from lightning_prune.folder import CLOSING, COLUMNS, RunFolder
from lightning_prune.table import points, summarise, swept


def run(root: Path, place: str, keeps: list[float], scores: list[float], **more: object) -> None:
    """A finished run that visited some budgets."""
    rows = [
        {
            "method": "magnitude", "seed": 0, "measure": "params", "event": number,
            "last": number == len(keeps), "epoch": number, "step": number, "keep_target": keep,
            "keep": keep, "main_metric": "test/accuracy", "direction": "max", "metric": score,
            "dense": 0.9, "control": 0.95, "test/accuracy": score, "identity": "1",
            "command": "lightning-prune", **more,
        }
        for number, (keep, score) in enumerate(zip(keeps, scores, strict=True), 1)
    ]  # fmt: skip
    folder = RunFolder(root / place)
    folder.write_rows(rows)
    folder.write_status("finished")


def test_every_event_of_every_run_is_a_row(tmp_path: Path):
    run(tmp_path, "b/0", [0.5, 0.2], [0.8, 0.7])
    run(tmp_path, "a/0", [0.5], [0.6], model="lenet")
    frame = curves(tmp_path)
    assert list(frame["run"]) == ["a/0", "b/0", "b/0"]
    assert list(frame["metric"]) == [0.6, 0.8, 0.7]
    assert tuple(frame.columns) == (*COLUMNS, "test/accuracy", "model", *CLOSING)
    assert frame["model"].isna().tolist() == [False, True, True]


def test_unfinished_and_earlier_runs_are_no_rows(tmp_path: Path):
    run(tmp_path, "a/0", [0.5], [0.6])
    run(tmp_path, "a/0/earlier/1", [0.5], [0.1])
    RunFolder(tmp_path / "b/0").write_status("running")
    assert len(curves(tmp_path)) == 1


def test_one_run_s_folder_is_enough(tmp_path: Path):
    run(tmp_path, "a/0", [0.5], [0.6])
    assert list(curves(tmp_path / "a" / "0")["run"]) == ["."]


def test_no_run_and_no_folder_are_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        curves(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        curves(tmp_path / "missing")


def test_means_and_deviations_over_seeds(tmp_path: Path):
    """0.6 and 0.8: mean 0.7, deviation sqrt(0.02)."""
    run(tmp_path, "m/0", [0.5], [0.6])
    run(tmp_path, "m/1", [0.5], [0.8], seed=1)
    run(tmp_path, "r/0", [0.5], [0.1], method="random")
    told = summarise(curves(tmp_path)).set_index("method")
    assert told.loc["magnitude", "mean"] == pytest.approx(0.7)
    assert told.loc["magnitude", "std"] == pytest.approx(0.02**0.5)
    assert list(told["runs"]) == [2, 1]
    assert pd.isna(told.loc["random", "std"])
    assert told.loc["random", "control"] == 0.95


def test_what_was_swept_tells_curves_apart_and_budgets_do_not(tmp_path: Path):
    for keep in (0.5, 0.2):
        for model in ("lenet", "resnet"):
            extra = {"model": model, "schedule.keep": keep}
            run(tmp_path, f"{model}{keep}/0", [keep], [0.5], **extra)
    frame = curves(tmp_path)
    assert swept(frame) == ["model"]
    assert len(summarise(frame)) == 4


def test_of_events_with_the_same_target_the_last_is_the_point(tmp_path: Path):
    run(tmp_path, "a/0", [0.5, 0.5, 0.5], [0.1, 0.2, 0.3])
    assert list(points(curves(tmp_path))["metric"]) == [0.3]


def test_a_cascade_over_the_papers_grid_is_a_curve(tmp_path: Path):
    run(tmp_path, "a/0", [1 - i / 30 for i in range(1, 30)], [0.5] * 29, control_cycle=0.6)
    frame = curves(tmp_path)
    assert len(points(frame)) == 29
    assert swept(frame) == ["method"]


def test_of_a_long_way_down_the_end_is_the_point(tmp_path: Path):
    run(tmp_path, "a/0", [1 - i / 100 for i in range(1, 51)], [0.5] * 49 + [0.4])
    assert list(points(curves(tmp_path))["metric"]) == [0.4]
