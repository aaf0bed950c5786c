"""Shifts: what a run's networks are worth beyond the test metrics, where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hydra.utils import instantiate
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import default_collate

from lightning_prune.cli.experiment import Experiment
from lightning_prune.cli.identity import evaluation_identity
from lightning_prune.cli.pictures import ends, references
from lightning_prune.cli.scores import Scores
from lightning_prune.data.shifts import Distribution, nominal
from lightning_prune.evaluation import (
    evaluate_shifts,
    informative_features,
    noise_similarity,
    potential_over_noise,
)
from lightning_prune.folder import RunFolder
from lightning_prune.table import POINTS

JUDGED = 3  # pruned networks whose informative features are compared: first, middle and last
UNITS = 256  # of an image whose features are ranked, at most: blocks of pixels where it has more
STEPS = 64  # in which they are removed, at most


class Subject(NamedTuple):
    """A network of the run, and what its rows begin with."""

    name: str
    net: Any
    about: dict[str, Any]


def check_evaluation(experiment: Experiment) -> None:
    """Refuse, before anything is trained, what could not be evaluated in the end.

    Raises:
        ValueError: The task is no classification of images, or a shift does not fit the data.
        FileNotFoundError: Files of a shift are missing.
    """
    if evaluation_identity(experiment.cfg) is None:
        return
    if not hasattr(experiment.task(), "classes"):
        raise ValueError(
            "evaluation= is for classifiers of images, whose predictions are compared; take "
            "evaluation=none."
        )
    data: Any = experiment.data()
    nominal(data, 1)
    for shift in _shifts(experiment):
        next(iter(shift.distributions(data, 1)))


def pending(experiment: Experiment, results: RunFolder) -> bool:
    """Whether an evaluation is asked for that the folder does not hold."""
    identity = evaluation_identity(experiment.cfg)
    known = results.read_report()["extra"].get("evaluation") or {}
    return identity is not None and known.get("identity") != identity


def evaluate(
    results: RunFolder, experiment: Experiment, scores: Scores, report: dict[str, Any]
) -> dict[str, Any]:
    """Evaluate the dense network, every cycle's end, the control and a network trained apart.

    Writes `shifts.csv` and, as asked for, `noise.csv` and `features.csv`.

    Returns:
        The report, with what was evaluated in `extra`.
    """
    if not pending(experiment, results):
        return report
    asked, data = experiment.cfg.evaluation, scores.data
    found = list(subjects(experiment, scores, report))
    nets = {each.name: each.net for each in found}
    rows = evaluate_shifts(
        nets,
        _followed(experiment, _distributions(experiment, data), f"{len(nets)} networks, shifted"),
        separate="separate" if "separate" in nets else None,
    )
    results.write_table("shifts.csv", _described(rows, found))
    seen = list(dict.fromkeys((row["distribution"], row["severity"]) for row in rows))
    if asked.noise:
        _under_noise(results, experiment, found, _first(data, asked.noise))
    if asked.features:
        images, labels = _first(data, asked.features)
        rows = informative_features(_judged(found), images, labels, **_coarseness(images))
        results.write_table("features.csv", rows)
    told = {
        "identity": evaluation_identity(experiment.cfg),
        "delta": asked.delta,
        "images": asked.images,
        "distributions": [{"name": name, "severity": severity} for name, severity in seen],
    }
    return results.update_report(extra={"evaluation": told})


def _under_noise(
    results: RunFolder, experiment: Experiment, found: list[Subject], shown: tuple[Tensor, Tensor]
) -> None:
    """Write `noise.csv`, and `noise_potential.csv` where networks were pruned."""
    asked, (images, labels) = experiment.cfg.evaluation, shown
    nets = {each.name: each.net for each in found}
    dense = nets.pop("dense")
    draws = 2 if experiment.cfg.debug else asked.draws
    rows = noise_similarity(dense, nets, images, labels=labels, draws=draws)
    keeps = {each.name: each.about["keep"] for each in found if "keep" in each.about}
    if keeps:
        told = potential_over_noise(rows, keeps, asked.delta)
        results.write_table("noise_potential.csv", told)
    single = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in rows]
    results.write_table("noise.csv", _described(single, found))


def subjects(
    experiment: Experiment, scores: Scores, report: Mapping[str, Any]
) -> Iterator[Subject]:
    """The dense network, the network trained apart, the control, and the ends of the cycles.

    A run that prunes at initialisation has no trained dense network before its first event; there
    its control takes the part.
    """
    dense, control = (path for _, path in references(experiment))
    if min(experiment.schedule.targets()) == 0 and control.is_file():
        dense = control
    if dense.is_file():
        yield Subject("dense", scores.load(dense).net, {"network": "dense"})
    if experiment.separate is not None and (apart := experiment.separate.before.cycle(0)).is_file():
        yield Subject("separate", scores.load(apart).net, {"network": "separate"})
    if control.is_file():
        yield Subject("control", scores.load(control).net, {"network": "control"})
    trained = [
        (number, event, path)
        for number, (event, path) in enumerate(
            zip(report["events"], ends(experiment, report), strict=True), 1
        )
        if path.is_file()
    ]
    for number, event, path in trained[-POINTS:]:
        told = {"event": number, "keep_target": event["keep_target"], "keep": event["keep"]}
        about = {"network": "pruned", **told}
        yield Subject(f"event {number}", scores.load(path).net, about)


def _shifts(experiment: Experiment) -> list[Any]:
    return [
        instantiate(node, _convert_="all") for node in experiment.cfg.evaluation.shifts.values()
    ]


def _distributions(experiment: Experiment, data: Any) -> Iterator[Distribution]:
    count = experiment.cfg.evaluation.images
    yield nominal(data, count)
    for shift in _shifts(experiment):
        yield from shift.distributions(data, count)


def _followed(experiment: Experiment, each: Iterable[Any], title: str) -> Iterable[Any]:
    """With a bar on a terminal."""
    shown = Console().is_terminal and not experiment.quiet
    return track(each, title, disable=not shown)


def _described(rows: list[dict[str, Any]], found: list[Subject]) -> list[dict[str, Any]]:
    """The rows with what their networks are, in place of their names."""
    blank = {"network": None, "event": None, "keep_target": None, "keep": None}
    about = {each.name: blank | each.about for each in found}
    return [
        about[row["network"]] | {k: v for k, v in row.items() if k != "network"} for row in rows
    ]


def _first(data: Any, count: int) -> tuple[Tensor, Tensor]:
    """The first test images, as the network takes them, and their labels."""
    dataset: Any = nominal(data, count).dataset
    images, labels = default_collate([dataset[place] for place in range(len(dataset))])
    return images, labels


def _judged(found: list[Subject]) -> dict[str, nn.Module]:
    """The dense networks, and pruned ones by what they keep."""
    pruned = [each for each in found if each.about["network"] == "pruned"]
    places = sorted({round(i * (len(pruned) - 1) / (JUDGED - 1)) for i in range(JUDGED)})
    shown = [pruned[place] for place in places] if pruned else []
    nets = {each.name: each.net for each in found if each.name in ("dense", "separate")}
    return nets | {f"keep {each.about['keep']:.2g}": each.net for each in shown}


def _coarseness(images: Tensor) -> dict[str, int]:
    """How many pixels are one unit, and how many units are removed at once."""
    height, width = images.shape[-2:]
    block = 1
    while -(-height // block) * -(-width // block) > UNITS:
        block *= 2
    units = -(-height // block) * -(-width // block)
    return {"block": block, "remove": -(-units // STEPS)}
