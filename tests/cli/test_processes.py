"""Two processes: one run folder, one report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.multiprocess]


def test_two_processes_leave_one_report(tmp_path: Path, checkout: Path):
    overrides = (
        "trainer=debug", "data=synthetic", "data.batch_size=8", "data.samples=64", "logger=none",
        "trainer.devices=2", "+trainer.strategy=ddp", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    path = f"{checkout}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "lightning_prune.cli.train", *overrides], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report, tables, checkpoints and plots") == 1
    folder = tmp_path / "run"
    report = json.loads((folder / "report.json").read_text())
    state = torch.load(folder / "checkpoints" / "final.ckpt", weights_only=True)["state_dict"]
    for layer in report["layers"]:
        assert layer["nonzero"] == int((state[f"{layer['name']}.weight"] != 0).sum())
    assert report["control"]["metrics"]
    assert not (folder / "earlier").exists()
