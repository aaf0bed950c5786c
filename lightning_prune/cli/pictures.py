"""Pictures: what people look at of a pruned flow, and of a classifier of the plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_prune.cli.experiment import Experiment
from lightning_prune.cli.scores import Scores
from lightning_prune.evaluation.modes import mode_coverage
from lightning_prune.evaluation.tight import TightFlow
from lightning_prune.folder import RunFolder
from lightning_prune.plots import (
    Plane,
    plot_density,
    plot_field,
    plot_flow_curves,
    plot_images,
    plot_regions,
    plot_samples,
    plot_trajectories,
)

SAMPLES = 20_000  # whose modes are counted, as in the paper
IMAGES = 10  # samples in a row, of a flow of images
SHOWN = 3  # events with a panel: the first, one in the middle and the last
SEED = 0  # of the samples, the same for all networks


def analyse(
    results: RunFolder, experiment: Experiment, scores: Scores, report: dict[str, Any]
) -> dict[str, Any]:
    """Count modes and draw, if the network is a flow or one of the plane.

    Returns:
        The report, in which `dense`, `control` and every event have `modes` where the density of
        the data is a known mixture.
    """
    net: Any = scores.load(experiment.pruned.final).net
    data: Any = scores.data
    plots = results.path / "plots"
    if hasattr(net, "log_prob"):
        if any((event["metrics"] or {}).get("test/nll") is not None for event in report["events"]):
            plot_flow_curves(report, plots / "nll.png")
        if len(getattr(data, "shape", ())) == 3 and hasattr(data, "sets"):
            flows = {name: task.net for name, task in _shown(experiment, scores, report)}
            images = torch.stack([data.sets["test"][i][0] for i in range(IMAGES)])
            plot_images(flows, plots / "samples.png", images, IMAGES)
    if getattr(data, "dims", None) != 2 or not hasattr(data, "sets"):
        return report
    points, labels = data.sets["test"].inputs, data.sets["test"].targets
    if not hasattr(net, "log_prob"):
        if hasattr(net, "trajectories"):
            nets = {name: task.net.eval() for name, task in _shown(experiment, scores, report)}
            plot_regions(nets, points, labels, results.path / "plots" / "regions.png")
        return report
    if data.mixture is not None:
        report = _count_modes(results, experiment, scores, report)
    flows = {name: TightFlow(task.net) for name, task in _shown(experiment, scores, report)}
    coarse = experiment.cfg.debug  # all pictures, and quick ones
    plane = Plane(steps=30 if coarse else 200)
    plot_density(flows, plots / "density.png", points, plane)
    plot_field(flows, plots / "field.png", plane)
    plot_trajectories(flows, plots / "trajectories.png", *((20, 5) if coarse else ()))
    count = 200 if coarse else 4000
    plot_samples(flows, plots / "samples.png", data.mixture, points, count)
    return report


def _count_modes(
    results: RunFolder, experiment: Experiment, scores: Scores, report: Mapping[str, Any]
) -> dict[str, Any]:
    data: Any = scores.data
    train, mixture = data.sets["train"], data.mixture
    count = 200 if experiment.cfg.debug else SAMPLES

    def modes(path: Path) -> dict[str, Any]:
        flow = TightFlow(scores.load(path).net)
        drawn = flow.sample(count, torch.Generator().manual_seed(SEED))
        return mode_coverage(drawn, mixture, train.inputs, train.targets).to_dict()

    events = [
        {**event, "modes": modes(path)} if path.is_file() else event
        for event, path in zip(report["events"], ends(experiment, report), strict=True)
    ]
    parts: dict[str, Any] = {"events": events}
    for name, path in references(experiment):
        if path.is_file() and report[name]:
            parts[name] = {**report[name], "modes": modes(path)}
    return results.update_report(**parts)


def _shown(
    experiment: Experiment, scores: Scores, report: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Names and tasks of the networks that have a panel."""
    dense, control = references(experiment)
    if dense[1].is_file():
        yield "dense", scores.load(dense[1])
    last = list(zip(report["events"], ends(experiment, report), strict=True))
    places = {round(i * (len(last) - 1) / max(SHOWN - 1, 1)) for i in range(SHOWN)} if last else ()
    for place in sorted(places):
        event, path = last[place]
        if path.is_file():
            yield f"keep {event['keep']:.2g}", scores.load(path)
    if control[1].is_file():
        yield "control", scores.load(control[1])


def ends(experiment: Experiment, report: Mapping[str, Any]) -> list[Path]:
    """Where the weights at the end of every event's cycle are."""
    pruned, count = experiment.pruned, len(report["events"])
    return [pruned.cycle(n) if n < count else pruned.final for n in range(1, count + 1)]


def references(experiment: Experiment) -> tuple[tuple[str, Path], tuple[str, Path]]:
    """Names of the two dense networks in a report, and where their weights are."""
    return ("dense", experiment.before.cycle(0)), ("control", experiment.control.final)
