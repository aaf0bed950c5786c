"""Surface: how flat the loss is around every network of a run, where that is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lightning_prune.cli.experiment import Experiment
from lightning_prune.cli.pictures import ends, references
from lightning_prune.cli.scores import Scores
from lightning_prune.evaluation.flatness import flatness
from lightning_prune.folder import RunFolder
from lightning_prune.plots import plot_flatness

EVENTS = 4  # at most, from the first to the last: a Hessian takes as many products as weights left


def check_surface(experiment: Experiment) -> None:
    """Refuse, before anything is trained, a network whose loss surface is not measured.

    Raises:
        ValueError: The network is no flow.
    """
    if experiment.cfg.flatness and not hasattr(experiment.task().net, "log_prob"):
        raise ValueError("flatness= is for flows, whose loss is a log density; take flatness=0.")


def measure_surface(
    results: RunFolder, experiment: Experiment, scores: Scores, report: dict[str, Any]
) -> dict[str, Any]:
    """Measure the flatness of a flow's loss: of the dense network, four events and the control.

    The loss is that of training on the first points of the training set, with the exact trace.

    Returns:
        The report, in which `dense`, `control` and the events have `flatness`.
    """
    count = experiment.cfg.flatness
    data: Any = scores.data
    train = data.sets["train"]
    points = (train.inputs if hasattr(train, "inputs") else train.points)[:count]

    def measured(path: Path) -> dict[str, Any]:
        net: Any = scores.load(path).net
        parameters = [p for p in net.parameters() if p.requires_grad]
        # neither compiled steps nor an adjoint can be differentiated twice
        solver = dataclasses.replace(net.solver, gradient="autograd", compiled=False)
        shown = path.relative_to(path.parents[2])
        print(f"flatness of {shown}", flush=True)
        return flatness(lambda: -net.log_prob(points, solver, "exact").mean(), parameters).to_dict()

    events = list(report["events"])
    chosen = {round(i * (len(events) - 1) / max(EVENTS - 1, 1)) for i in range(EVENTS)}
    for place, path in enumerate(ends(experiment, report)):
        if place in chosen and path.is_file():
            events[place] = {**events[place], "flatness": measured(path)}
    parts: dict[str, Any] = {"events": events}
    for name, path in references(experiment):
        if path.is_file() and report[name]:
            parts[name] = {**report[name], "flatness": measured(path)}
    report = results.update_report(**parts)
    values = {e["keep"]: e["flatness"] for e in report["events"] if "flatness" in e}
    around = {name: (report[name] or {}).get("flatness") for name in ("dense", "control")}
    if values and around["dense"]:
        plot_flatness(values, results.path / "plots" / "flatness.png", **around)
    return report
