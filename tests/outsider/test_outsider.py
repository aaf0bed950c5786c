"""Somebody else's criterion: one file, one yaml, public names, nothing to register."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_prune.cli.train import main

HERE = Path(__file__).resolve().parent
ACME = HERE / "acme"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(HERE))


def test_it_uses_public_names_only():
    for node in ast.walk(ast.parse((ACME / "range.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            private = [name for name in names if name.startswith("_") and name != "__future__"]
            assert not private


def test_it_prunes_in_python():
    from acme.range import Range

    from lightning_prune import Method, prune
    from lightning_prune.allocations import Uniform
    from lightning_prune.structures import Filters

    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].weight[3] = 7.0  # large, and flat
    report = prune(net, Method(Range(), Filters(), Uniform()), 0.9, example=torch.randn(1, 4))
    assert report.keep <= 0.9
    assert torch.equal(net[0].weight[3], torch.zeros(4))


@pytest.mark.slow
def test_the_command_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv",
        ["lightning-prune", "--config-dir", str(ACME / "conf"), "method=filter_norm",
         "criterion@method.criterion=range", "method.criterion.power=2.0", "trainer=debug",
         "data=synthetic", "data.batch_size=8", "schedule.keep=0.5", "control=false"],
    )  # fmt: skip
    main()
    (found,) = tmp_path.rglob("report.json")
    report = json.loads(found.read_text())
    assert "Range(power=2.0)" in report["method"]
    assert report["final"]["nonzero"] <= 0.5 * report["final"]["params"]
