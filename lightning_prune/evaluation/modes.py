"""Modes: which modes of the data the samples of a generative model still reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

THRESHOLDS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)
NEAR = 3.0  # standard deviations; of a planar Gaussian's own samples 98.9 % are nearer
FAIR = 5  # a mode is held where it has a fifth of its equal share


class Mixture(Protocol):
    """A known density of round Gaussians with equal weights."""

    @property
    def means(self) -> Tensor:
        """(modes, d)."""

    @property
    def stds(self) -> Tensor:
        """(modes,), the same in every direction."""

    def posterior(self, x: Tensor) -> Tensor:
        """(n, modes): how likely each mode drew each point; rows add up to 1."""


@dataclass(frozen=True)
class ModeCoverage:
    """Which modes samples reach, by distance to labelled points and by a known mixture.

    Arguments:
        samples: How many were given.
        finite: How many of them are finite numbers; a diverged one is far from every mode.
        modes: How many there are, of the mixture or else of the labels.
        thresholds: Of the distance, in multiples of a mode's standard deviation.
        high_quality: By threshold, the share of samples no farther from their nearest mode; None
            without points, as are the next two.
        captured: By threshold, modes with at least one sample nearer than it.
        held: By threshold, modes with a fair share of the samples nearer than it, where a sample
            counts for its nearest mode only and a fair share is 1 / (5 modes).
        shares: Of the finite samples by mode, mean posteriors; None without a mixture, as are
            the next four.
        smallest_share: Of any mode.
        covered: Modes with a fair share.
        divergence: Kullback-Leibler divergence of the shares from equal ones, in nats; 0 is best,
            log(modes) is the collapse to one mode.
        near: Share of samples within 3 standard deviations of the nearest mean.
    """

    samples: int
    finite: int
    modes: int
    thresholds: list[float]
    high_quality: list[float] | None = None
    captured: list[int] | None = None
    held: list[int] | None = None
    shares: list[float] | None = None
    smallest_share: float | None = None
    covered: int | None = None
    divergence: float | None = None
    near: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Numbers and lists by name, as JSON knows them."""
        return asdict(self)


def mode_coverage(
    samples: Tensor,
    mixture: Mixture | None = None,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> ModeCoverage:
    """Which modes the samples reach.

    With `points` and `labels` a mode is the mean and covariance of one label's points and the
    distance is `paper_distance`. One sample captures a mode there, so `held` is the stricter
    number. With `mixture` nothing is estimated: its posterior says whose every sample is.

    Arguments:
        samples: (n, d), of the model.
        mixture: The density of the data, where it is known.
        points: (p, d), of the training set.
        labels: (p,), the mode of each point.
        thresholds: Of the paper's distance.

    Raises:
        ValueError: There is nothing to compare with, no finite sample, or points lack labels.

    Source:
        Lucas Liebenwein, Ramin Hasani, Alexander Amini and Daniela Rus, "Sparse Flows: Pruning
        Continuous-depth Models", NeurIPS 2021, arXiv:2106.12718: distance, thresholds, and
        captured modes. `held` and all that stands on the mixture are this package's.
    """
    if mixture is None and points is None:
        raise ValueError("Modes are those of a mixture or of labelled points; give one of them.")
    if (points is None) != (labels is None):
        raise ValueError("Points and their labels belong together; one of them is missing.")
    samples = samples.detach()
    finite = samples[samples.isfinite().all(-1)]
    if not len(finite):
        raise ValueError(f"None of the {len(samples)} samples is finite.")
    modes, found = 0, dict[str, Any]()
    if points is not None and labels is not None:
        modes, by_distance = _by_distance(finite, len(samples), points, labels, thresholds)
        found |= by_distance
    if mixture is not None:
        modes = len(mixture.means)
        found |= _by_posterior(finite, len(samples), mixture)
    return ModeCoverage(len(samples), len(finite), modes, list(thresholds), **found)


def paper_distance(samples: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Multiples of a mode's standard deviation along the way from its mean to a sample.

    With v the difference and S the covariance, |v|^2 / sqrt(v' S v). That is Mahalanobis' distance
    sqrt(v' S^-1 v) only where v is an eigenvector of S, so for every v where S is a multiple of
    the identity; elsewhere it is smaller.

    Arguments:
        samples: (n, d).
        points: (p, d).
        labels: (p,); the modes are their values in rising order.

    Returns:
        (n, modes), float64.

    Raises:
        ValueError: A label has fewer than two points, which have no covariance.
    """
    samples, points = samples.double(), points.detach().double().to(samples.device)
    labels = labels.to(samples.device)
    columns = []
    for label in labels.unique():  # one by one: images have wide covariances
        own = points[labels == label]
        if len(own) < 2:
            raise ValueError(f"Label {label.item()} has one point, which has no covariance.")
        way = samples - own.mean(0)
        covariance = torch.cov(own.T).reshape(own.shape[1], own.shape[1])
        square = way.square().sum(-1)
        spread = ((way @ covariance) * way).sum(-1).clamp(min=0).sqrt()
        # at the mean itself the distance is 0, and no 0 / 0
        columns.append(torch.where(square > 0, square / spread, 0.0))
    return torch.stack(columns, 1)


def _by_distance(
    finite: Tensor, count: int, points: Tensor, labels: Tensor, thresholds: Sequence[float]
) -> tuple[int, dict[str, Any]]:
    distances = paper_distance(finite, points, labels)
    modes = distances.shape[1]
    least, nearest = distances.min(1)
    own = [nearest[least < threshold].bincount(minlength=modes) for threshold in thresholds]
    return modes, {
        "high_quality": [int((least <= threshold).sum()) / count for threshold in thresholds],
        "captured": [int((distances < t).any(0).sum()) for t in thresholds],
        "held": [int((counts * FAIR * modes >= count).sum()) for counts in own],
    }


def _by_posterior(finite: Tensor, count: int, mixture: Mixture) -> dict[str, Any]:
    modes = len(mixture.means)
    means, stds = mixture.means.to(finite), mixture.stds.to(finite)
    shares = mixture.posterior(finite).double().mean(0)
    # 0 log 0 is 0
    divergence = torch.special.xlogy(shares, shares * modes).sum()
    # not cdist, whose matrix product loses digits where points lie close together
    distances = (finite[:, None] - means).norm(dim=-1) / stds
    return {
        "shares": shares.tolist(),
        "smallest_share": float(shares.min()),
        "covered": int((shares * FAIR * modes >= 1).sum()),
        "divergence": max(float(divergence), 0.0),  # round-off of equal shares
        "near": int((distances.min(1).values <= NEAR).sum()) / count,
    }
