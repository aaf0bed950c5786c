"""Sweeps in several processes, killed, and led by Optuna: always the same table."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from sweeps import process, sweep, table

pytestmark = pytest.mark.slow

GRID = ("method=magnitude,random", "schedule.keep=0.5,0.3", "seed=0", "+trainer.min_epochs=1")
WAIT = 240  # seconds until a process that should long be done is given up


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of a sweep of four runs, one after the other and never stopped."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sweep(*GRID) == 0
    return table(folder)


def killed_after(rows: int, started, folder: Path) -> None:
    """Kill the process and its children once that many runs are finished and one is at work."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until and started.poll() is None:
        states = [path.read_text() for path in folder.rglob("run.json")]
        finished = sum('"finished"' in state for state in states)
        if finished >= rows and any('"running"' in state for state in states):
            break
        time.sleep(0.02)
    else:
        pytest.fail(f"it was never at that point: {started.communicate()}")
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


@pytest.mark.parametrize("rows", [0, 2])
def test_a_killed_sweep_continues_to_the_same_table(
    rows: int, straight: pd.DataFrame, tmp_path: Path, checkout: Path, monkeypatch, capsys
):
    started = process(*GRID, cwd=tmp_path, checkout=checkout, start_new_session=True)
    killed_after(rows, started, tmp_path)
    assert not (tmp_path / "outputs/s/table.csv").is_file() or len(table(tmp_path)) < 4
    monkeypatch.chdir(tmp_path)
    assert sweep(*GRID) == 0
    assert capsys.readouterr().out.count("finished already") >= rows
    pd.testing.assert_frame_equal(table(tmp_path), straight)


@pytest.mark.multiprocess
def test_two_jobs_in_parallel_make_the_same_table(
    straight: pd.DataFrame, tmp_path: Path, checkout: Path
):
    """The table is read all the time; it is whole whenever it is there."""
    started = process(
        *GRID, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=tmp_path, checkout=checkout
    )
    seen = set()
    while started.poll() is None:
        if (tmp_path / "outputs/s/table.csv").is_file():
            rows = table(tmp_path)
            seen.add(len(rows))
            assert rows["metric"].notna().all()
            assert rows["command"].str.startswith("lightning-prune ").all()
        time.sleep(0.05)
    out, err = started.communicate()
    assert started.returncode == 0, err
    assert seen, "the table is written while the sweep is at work"
    assert "[4/4]" in out
    told = table(tmp_path).drop(columns="command")  # the launcher is no part of a run's command
    pd.testing.assert_frame_equal(told, straight.drop(columns="command"))
    assert len(list(tmp_path.glob("outputs/s/dense/*/checkpoints/dense.ckpt"))) == 1


@pytest.mark.multiprocess
def test_submitit_on_this_machine(straight: pd.DataFrame, tmp_path: Path, checkout: Path):
    started = process(
        *GRID[:1], "schedule.keep=0.5", *GRID[2:], "hydra/launcher=submitit_local",
        "hydra.launcher.timeout_min=5", cwd=tmp_path, checkout=checkout,
    )  # fmt: skip
    out, err = started.communicate(timeout=WAIT)
    assert started.returncode == 0, out + err
    rows = table(tmp_path).set_index("method")["metric"]
    expected = straight[straight["keep_target"] == 0.5].set_index("method")["metric"]
    assert rows.to_dict() == expected.to_dict()


def test_optuna_chooses_by_the_main_metric(tmp_path: Path, checkout: Path):
    started = process(
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.direction=maximize",
        "hydra.sweeper.sampler.seed=1", "control=false", "optim.optimizer.lr=interval(0.001,0.1)",
        cwd=tmp_path, checkout=checkout,
    )  # fmt: skip
    out, err = started.communicate(timeout=WAIT)
    assert started.returncode == 0, out + err
    assert "3 runs in outputs" in out
    rows = table(tmp_path)
    assert len(rows) == 3
    assert rows["optim.optimizer.lr"].between(0.001, 0.1).all()
    best = (tmp_path / "outputs" / "optimization_results.yaml").read_text()
    assert f"best_value: {rows['metric'].max()}" in best
