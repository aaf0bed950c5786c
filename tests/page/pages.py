"""Runs for the tests of pages: small reports as the program writes them, without training."""

from __future__ import annotations

import csv
import json
import random
import shlex
from pathlib import Path
from typing import Any

LAYERS = ("net.conv", "net.stages.0.conv1", "net.stages.0.conv2", "net.fc")
PARAMS, MACS = 1000, 20_000
DENSE = 0.9
KEEPS = (0.5, 0.2, 0.1)


def config(method: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A composed config; changes by dotted names, with two underscores for a dot."""
    made: dict[str, Any] = {
        "name": "s", "seed": seed, "epochs": 12, "measure": "params", "batches": 8, "hold": True,
        "logger": {"csv": {"name": "logs"}},
        "dataset": {"name": "digits", "classes": 10},
        "data": {"_target_": "lightning_prune.data.Digits", "batch_size": 16, "seed": seed},
        "model": {"_target_": "lightning_prune.models.ResNet", "depth": 8, "widths": [8, 16]},
        "task": {"_target_": "lightning_prune.tasks.Classification", "net": {"depth": 8}},
        "optim": {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}},
        "method": {"criterion": {"_target_": f"lightning_prune.criteria.{method}", "p": 2.0}},
        "schedule": {"_target_": "lightning_prune.Grid", "first": 4, "keeps": list(KEEPS)},
        "trainer": {"accelerator": "cpu", "max_epochs": 12},
    }  # fmt: skip
    for name, value in changes.items():
        *rooms, last = name.split("__")
        place = made
        for room in rooms:
            place = place.setdefault(room, {})
        place[last] = value
    return made


def report(
    method: str = "magnitude",
    seed: int = 0,
    keeps: tuple[float, ...] = KEEPS,
    layers: tuple[str, ...] = LAYERS,
    metric: str = "test/accuracy",
    **changes: Any,
) -> dict[str, Any]:
    """A whole report; accuracy falls by a tenth of what is pruned, losses rise as much."""
    falling = metric != "test/accuracy"
    noise = random.Random(f"{method} {seed}")

    def network(keep: float, share: float = 1.0) -> dict[str, Any]:
        lost = 0.1 * (1 - keep) + 0.004 * noise.random() * (keep < 1)
        value = 1.5 + lost if falling else DENSE + 0.01 * seed - lost
        return {
            "params": PARAMS, "nonzero": round(share * PARAMS), "macs": MACS,
            "macs_effective": round(share * MACS), "latency_ms": 2.0 + keep,
            "metrics": {metric: value, "test/other": value / 2},
        }  # fmt: skip

    events = [
        {
            "epoch": 4 + number, "step": 10 * number, "method": method, "measure": "params",
            "keep_target": keep, "keep": keep, **network(keep, keep), "notes": [], "seconds": 0.1,
            "layers": [
                {"name": name, "units": 100, "kept": max(round(100 * keep), 1), "params": 250,
                 "nonzero": round(250 * keep), "macs": 5000, "macs_effective": round(5000 * keep)}
                for name in layers
            ],
        }
        for number, keep in enumerate(keeps)
    ]  # fmt: skip
    control = network(1.0)
    control["metrics"][metric] += -0.01 if falling else 0.01
    return {
        "schema": 1, "method": method, "seed": seed, "measure": "params",
        "dense": network(1.0), "control": control,
        "final": network(keeps[-1], keeps[-1]) | {"metrics": events[-1]["metrics"]},
        "events": events, "layers": events[-1]["layers"],
        "environment": {"torch": "2.6.0", "python": "3.11.7"},
        "config": config(method, seed, **changes), "bounds": None,
        "extra": {"main_metric": metric, "direction": "min" if falling else "max"},
    }  # fmt: skip


def write(folder: Path, made: dict[str, Any], *overrides: str, identity: str = "") -> Path:
    """A finished run's folder, with its command where overrides are given."""
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(made, indent=2))
    status = {"status": "finished", "identity": identity or folder.as_posix()}
    (folder / "run.json").write_text(json.dumps(status))
    (folder / "config.yaml").write_text("seed: 0\n")
    if overrides:
        with (folder / "rows.csv").open("w", newline="") as file:
            rows = csv.DictWriter(file, ["method", "command"])
            rows.writeheader()
            command = shlex.join(["lightning-prune", *overrides])
            rows.writerow({"method": made["method"], "command": command})
    return folder


def sweep(
    root: Path,
    methods: tuple[str, ...] = ("magnitude", "random"),
    seeds: int = 3,
    **about: Any,
) -> Path:
    """Runs of every method and seed, in folders as a sweep lays them out."""
    for method in methods:
        for seed in range(seeds):
            folder = root / f"method={method}" / str(seed)
            made = report(method, seed, **about)
            write(folder, made, f"method={method}", f"seed={seed}", "experiment=s")
    return root


def shifts(folder: Path, keeps: tuple[float, ...] = KEEPS) -> None:
    """`shifts.csv` of a run: under shift everything is 0.2 worse, and pruned networks more."""
    columns = (
        "network", "event", "keep_target", "keep", "distribution", "severity", "side", "samples",
        "accuracy", "loss", "calibration", "agreement", "distance", "agreement_separate",
        "distance_separate", "worst_class", "worst_drop", "evaluations",
    )  # fmt: skip
    seed = int(folder.name)
    networks: list[tuple] = [("dense", "", "", 1.0), ("control", "", "", 1.0)]
    networks += [("pruned", number, keep, keep) for number, keep in enumerate(keeps, 1)]
    with (folder / "shifts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for name, severity, side in (("nominal", 0, "train"), ("fog", 3, "test")):
            for network, event, target, keep in networks:
                lost = 0.1 * (1 - keep) + (0.2 + 0.1 * (1 - keep)) * (name == "fog")
                rows.writerow(
                    [network, event, target, "" if network != "pruned" else keep, name, severity,
                     side, 100, DENSE + 0.01 * seed - lost, 0.5, 0.05, 0.9, 0.1, "", "", 3, 0.1, ""]
                )  # fmt: skip


def probes(folder: Path) -> None:
    """`noise.csv` and `features.csv` of a run."""
    with (folder / "noise.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        names = ("network", "event", "keep_target", "keep", "eps", "matching", "matching_std")
        rows.writerow([*names, "distance", "distance_std"])
        for eps in (0.0, 0.1):
            for number in range(1, 10):
                keep = 1 / (1 + number)
                rows.writerow(["pruned", number, keep, keep, eps, 0.9 - eps, 0.01, eps, 0.01])
            rows.writerow(["separate", "", "", "", eps, 0.95 - eps, 0.01, eps, 0.01])
    with (folder / "features.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        names = ("ranked_by", "judged_by", "confidence", "accuracy", "units", "kept", "images")
        rows.writerow(names)
        for one in ("dense", "keep 0.5"):
            for other in ("dense", "keep 0.5"):
                rows.writerow([one, other, 0.8, 0.9, 64, 6, 10])
