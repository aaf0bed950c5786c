"""Networks under shift: what every network reaches on every distribution of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_prune.evaluation.harm import class_harm
from lightning_prune.evaluation.outputs import finite_rows, known, logits_of
from lightning_prune.network.untouched import untouched

BINS = 15  # of confidence, as calibration errors are most often given


class Distribution(Protocol):
    """Inputs and labels of one kind."""

    name: str
    severity: Any  # of a corruption, from 1 to 5; 0 or None: there is none
    side: str  # `train`, known in training, or `test`
    dataset: Any  # of (inputs, label)


def evaluate_shifts(
    networks: Mapping[str, nn.Module],
    distributions: Iterable[Distribution],
    *,
    dense: str = "dense",
    separate: str | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int | None], None] | None = None,
) -> list[dict[str, Any]]:
    """Accuracy, calibration and agreement of networks on every distribution.

    A batch is read once and every network sees it, in eval mode and without gradients, on the
    network's own device; the networks stay as they are. Samples without finite logits count as
    wrong and agree with nothing.

    Arguments:
        networks: By name, of logits (n, classes); modules or Lightning tasks.
        distributions: With `name`, `severity`, `side` and a `dataset` of (inputs, label); its
            `collate`, if it has one, joins samples to batches.
        dense: Name of the network that others are compared with.
        separate: Name of a dense network trained apart from it: what agrees less with `dense`
            than that one has not learned the same function. None: there is none.
        batch_size: Samples of a forward.
        progress: Called after each distribution with how many are done, and in all (None where
            they come from a stream).

    Returns:
        A row a distribution and network: `network`, `distribution`, `severity`, `side`, `samples`,
        `accuracy`, `loss` (cross entropy, nats), `calibration` (expected calibration error of 15
        bins, l1), `agreement` and `distance` (of softmax outputs) with `dense`,
        `agreement_separate` and `distance_separate`, `worst_class` and `worst_drop` (of recall,
        against `dense`), and `evaluations` of a field in one solve of networks of continuous
        depth. None: not known, or not finite.

    Raises:
        ValueError: A name is not that of a network, a distribution has no samples, or logits and
            labels do not fit.

    Source:
        Lucas Liebenwein, Cenk Baykal, Brandon Carter, David Gifford and Daniela Rus, "Lost in
        Pruning: The Effects of Pruning Neural Networks beyond Test Accuracy", MLSys 2021,
        arXiv:2103.03014.
    """
    for name in (dense, separate):
        if name is not None and name not in networks:
            raise ValueError(f"There is no network {name!r}; there are {', '.join(networks)}.")
    in_all = len(distributions) if isinstance(distributions, Sized) else None
    rows: list[dict[str, Any]] = []
    with torch.inference_mode(), ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(untouched(network))
        for done, distribution in enumerate(distributions, 1):
            found = _pass(networks, distribution, (dense, separate), batch_size)
            rows += _rows(found, distribution, dense)
            if progress is not None:
                progress(done, in_all)
    return rows


class _Running:
    """What one network has reached on one distribution so far."""

    def __init__(self, classes: int) -> None:
        from torchmetrics import MeanMetric
        from torchmetrics.classification import MulticlassCalibrationError, MulticlassStatScores

        from lightning_prune.evaluation.agreement import MatchingPredictions, SoftmaxDistance

        self.classes, self.finite = classes, True
        self.scores = MulticlassStatScores(classes, average=None, validate_args=False)
        self.calibration = MulticlassCalibrationError(classes, BINS, "l1", validate_args=False)
        self.loss = MeanMetric(nan_strategy=float("nan")).set_dtype(torch.float64)
        self.evaluations = MeanMetric()
        self.agreements = [MatchingPredictions(), MatchingPredictions()]
        self.distances = [SoftmaxDistance(), SoftmaxDistance()]

    def update(self, logits: Tensor, labels: Tensor, others: Iterable[Tensor | None]) -> None:
        finite = finite_rows(logits)
        self.finite = self.finite and bool(finite.all())
        # without a prediction it is one of a wrong class
        predicted = torch.where(finite, logits.argmax(1), (labels + 1) % self.classes)
        self.scores.update(predicted, labels)
        self.loss.update(F.cross_entropy(logits.double(), labels), len(labels))
        if self.finite:
            # of logits that happen to lie in [0, 1] the metric would take no softmax
            self.calibration.update(logits.softmax(1), labels)
        for other, agreement, distance in zip(others, self.agreements, self.distances, strict=True):
            if other is not None:
                agreement.update(logits, other)
                distance.update(logits, other)

    def recalls(self) -> Tensor:
        """(classes,); NaN where a class has no samples."""
        hits, *_, support = self.scores.compute().double().unbind(1)
        return hits / support

    def numbers(self, dense_recalls: Tensor) -> dict[str, Any]:
        hits, *_, support = self.scores.compute().double().sum(0).tolist()
        harm = class_harm(dense_recalls, self.recalls())
        same, same_separate = map(_result, self.agreements)
        apart, apart_separate = map(_result, self.distances)
        return {
            "samples": int(support),
            "accuracy": hits / support,
            "loss": _result(self.loss),
            "calibration": _result(self.calibration) if self.finite else None,
            "agreement": same,
            "distance": apart,
            "agreement_separate": same_separate,
            "distance_separate": apart_separate,
            "worst_class": harm.worst_class,
            "worst_drop": harm.worst_drop,
            "evaluations": _result(self.evaluations),
        }


def _pass(
    networks: Mapping[str, nn.Module],
    distribution: Distribution,
    compared: tuple[str, str | None],
    batch_size: int,
) -> dict[str, _Running]:
    dataset = distribution.dataset
    loader = DataLoader(dataset, batch_size, collate_fn=getattr(dataset, "collate", None))
    found: dict[str, _Running] = {}
    for inputs, targets in loader:
        labels = torch.as_tensor(targets).cpu().long()
        logits, solved = {}, {}
        for name, network in networks.items():
            logits[name], solved[name] = _forward(network, inputs)
        _check(logits, labels, distribution.name)
        others = [None if name is None else logits[name] for name in compared]
        for name, own in logits.items():
            running = found.setdefault(name, _Running(own.shape[1]))
            running.update(own, labels, others)
            if (evaluations := solved[name]) is not None:
                running.evaluations.update(evaluations)
    if not found:
        raise ValueError(f"The distribution {distribution.name} has no samples.")
    return found


def _forward(network: nn.Module, inputs: Any) -> tuple[Tensor, float | None]:
    """Logits, and evaluations of a field in one solve on the way to them."""
    tally = getattr(network, "tally", None) or getattr(getattr(network, "net", None), "tally", None)
    if tally is None:
        return logits_of(network, inputs), None
    tally.reset()
    logits = logits_of(network, inputs)
    return logits, tally.per_solve if tally.solves else None


def _rows(
    found: Mapping[str, _Running], distribution: Distribution, dense: str
) -> Iterable[dict[str, Any]]:
    recalls = found[dense].recalls()
    for name, running in found.items():
        place = {key: getattr(distribution, key) for key in ("severity", "side")}
        head = {"network": name, "distribution": distribution.name, **place}
        yield {**head, **running.numbers(recalls)}


def _check(logits: Mapping[str, Tensor], labels: Tensor, where: str) -> None:
    shapes = {name: tuple(own.shape) for name, own in logits.items()}
    first = next(iter(shapes.values()))
    if len(set(shapes.values())) > 1 or labels.shape != first[:1]:
        raise ValueError(
            f"On {where} there are {tuple(labels.shape)} labels and logits of shapes {shapes}."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < first[1]:
        raise ValueError(f"On {where} labels are not all from 0 to {first[1] - 1}.")


def _result(metric: Any) -> float | None:
    return known(float(metric.compute())) if metric.update_called else None
