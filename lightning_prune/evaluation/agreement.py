"""Agreement: how much the outputs of two networks have in common, batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_prune.evaluation.outputs import matching, softmax_distances


class MatchingPredictions(Metric):
    """The share of samples for which two networks predict the same class; over all processes.

    A network's with itself is 1. A sample without finite logits matches nothing.

    Source:
        Lucas Liebenwein, Cenk Baykal, Brandon Carter, David Gifford and Daniela Rus, "Lost in
        Pruning: The Effects of Pruning Neural Networks beyond Test Accuracy", MLSys 2021,
        arXiv:2103.03014, as the next.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    matches: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("matches", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, others: Tensor) -> None:
        """Count a batch of (n, classes) logits of both networks."""
        self.matches += matching(logits, others).sum()
        self.samples += len(logits)

    def compute(self) -> Tensor:
        """The share, float64 in [0, 1]; NaN without samples."""
        return self.matches.double() / self.samples


class SoftmaxDistance(Metric):
    """The mean Euclidean distance of two networks' softmax outputs; over all processes.

    From 0, a network's to itself, to sqrt(2). NaN once logits were not finite.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    total: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, others: Tensor) -> None:
        """Add a batch of (n, classes) logits of both networks."""
        self.total += softmax_distances(logits, others).sum()
        self.samples += len(logits)

    def compute(self) -> Tensor:
        """The mean, float64; NaN without samples."""
        return self.total / self.samples
