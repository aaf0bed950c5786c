"""The experiments of continuous depth: all compose and instantiate, the quick ones run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from lightning_prune.cli.run import run
from lightning_prune.configs import CONF, compose

FOLDER = CONF / "experiment"
NAMES = sorted(
    path.relative_to(FOLDER).with_suffix("").as_posix()
    for path in (FOLDER / "sparse_flows").rglob("*.yaml")
)
# two batches an epoch, as trainer=debug has it, of few points
QUICK = {
    **dict.fromkeys(("gaussians", "gaussians_spiral", "spirals"), "data.samples=256"),
    **dict.fromkeys(("moons", "circles", "spiral_arms", "paper/moons"), "data.samples=128"),
    "miniboone": "data.rows=40",
    "power": "data.rows=40",
    "digits": "task.probes=1",
    "paper/gaussians": "data.samples=128",
}
LONGER = (
    "gaussians", "gaussians_spiral", "spirals", "digits", "paper/gaussians", "circles",
    "spiral_arms", "paper/moons", "power", "miniboone",
)  # fmt: skip
# of the papers' networks, which are built without memory
PARAMETERS = {
    "power": 43_325, "gas": 278_565, "hepmass": 546_850, "miniboone": 820_613,
    "bsds300": 6_698_666, "mnist": 800_646, "gaussians": 8_642, "moons": 322,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_composes_and_its_schedule_ends_in_time(name: str):
    cfg = compose("train", f"experiment={name}")
    times = instantiate(cfg.schedule).targets()
    assert max(times) < cfg.epochs
    first, every = cfg.schedule.first, cfg.schedule.every
    assert cfg.epochs == max(times) + every, "the last cycle is as long as the others"
    assert first == every
    assert cfg.name == name.replace("/", "_").replace("sparse_flows_sweep", "sweep_sparse_flows")


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_the_papers_networks_have_the_papers_size(name: str, count: int):
    cfg = compose("train", f"experiment=sparse_flows/paper/{name}")
    with torch.device("meta"):
        net = instantiate(cfg.model)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(
    ("name", "few"),
    [
        pytest.param(name, few, marks=[pytest.mark.slow] if name in LONGER else [])
        for name, few in QUICK.items()
    ],
)
def test_quick_experiments_run(name: str, few: str, tmp_path: Path, data_root: Path):
    cfg = compose(
        "train", f"experiment=sparse_flows/{name}", "trainer=debug", "logger=none",
        "control=false", "data.batch_size=16", "model.solver.budget=4000", few,
        *(["model.solver.compiled=false"] if "adjoint" not in name and "paper" not in name else []),
        *([f"data.root={data_root}"] if name in ("miniboone", "power") else []),
    )  # fmt: skip
    run(cfg, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["events"]) == 2
    assert report["final"]["metrics"][report["extra"]["main_metric"]] is not None
    assert report["final"]["metrics"]["test/evaluations"] > 0
