"""Sweeps for the tests: small, in this process or in one that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from lightning_prune.cli.train import main

DEBUG = ("trainer=debug", "data=synthetic", "data.batch_size=16", "data.samples=64", "logger=none")
PLAIN = ("schedule=one_shot", "schedule.epoch=1", "name=s")
NOT_REPEATABLE = ["seconds"]


def sweep(*overrides: str, job: tuple[str, ...] = DEBUG + PLAIN) -> int:
    """What `lightning-prune -m ...` does, in this process and folder; the exit status."""
    before = sys.argv
    sys.argv = ["lightning-prune", "-m", *job, *overrides]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0


def process(*overrides: str, cwd: Path, checkout: Path, **kwargs: object) -> subprocess.Popen:
    """The same in a process of its own."""
    path = f"{checkout}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_prune.cli.train", "-m", *DEBUG, *PLAIN, *overrides],
        cwd=cwd, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


def table(folder: Path) -> pd.DataFrame:
    """The sweep's table without what no two runs have alike."""
    return pd.read_csv(folder / "outputs" / "s" / "table.csv").drop(columns=NOT_REPEATABLE)
