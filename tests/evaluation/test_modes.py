"""Modes: counts that a reader can do by hand, and the two ways to look at them."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from lightning_prune.evaluation import mode_coverage, paper_distance


class Ring:
    """Equal round Gaussians, spread over a circle of radius 4."""

    def __init__(self, modes: int = 6, std: float = 0.5):
        angles = torch.arange(modes) * 2 * math.pi / modes
        self.means = 4 * torch.stack([angles.cos(), angles.sin()], 1)
        self.stds = torch.full((modes,), std)

    def posterior(self, x: Tensor) -> Tensor:
        squares = (x[:, None] - self.means).square().sum(-1) / self.stds.square()
        return (-squares / 2 - 2 * self.stds.log()).softmax(1)

    def draw(self, counts: list[int]) -> tuple[Tensor, Tensor]:
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        return self.means[labels] + self.stds[labels, None] * torch.randn(len(labels), 2), labels


def mahalanobis(samples: Tensor, points: Tensor) -> Tensor:
    inverse = torch.linalg.inv(torch.cov(points.T.double()))
    way = samples.double() - points.double().mean(0)
    return ((way @ inverse) * way).sum(-1).sqrt()


def test_along_eigenvectors_the_distance_is_mahalanobis_and_elsewhere_smaller():
    points = torch.randn(500, 2) @ torch.tensor([[2.0, 0.5], [0.0, 0.3]])
    labels = torch.zeros(500)
    _, axes = torch.linalg.eigh(torch.cov(points.T.double()))
    along = points.double().mean(0) + torch.cat([axes.T, -3 * axes.T])
    assert torch.allclose(paper_distance(along, points, labels)[:, 0], mahalanobis(along, points))
    others = torch.randn(100, 2)
    distance, upper = paper_distance(others, points, labels)[:, 0], mahalanobis(others, points)
    assert (distance <= upper + 1e-9).all()
    assert (distance < 0.5 * upper).any()


def test_a_sample_at_the_mean_has_no_distance():
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    distance = paper_distance(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), points, torch.zeros(4))
    # the covariance is 2/3 of the identity
    assert distance[:, 0].tolist() == pytest.approx([0.0, 2 / math.sqrt(2 / 3)])


def test_one_sample_captures_a_mode_and_does_not_hold_it():
    ring = Ring()
    points, labels = ring.draw([500] * 6)
    samples = torch.cat([ring.means[:3].repeat(333, 1), ring.means[3:4]])
    found = mode_coverage(samples, points=points, labels=labels)
    assert found.modes == 6
    at_one = found.thresholds.index(1.0)
    assert found.captured[at_one] == 4
    assert found.held[at_one] == 3
    assert found.high_quality[at_one] == 1
    # within 20 standard deviations of everything
    assert found.captured[-1] == 6
    assert found.held[-1] == 3
    assert found.shares is None


def test_a_fair_share_is_a_fifth_of_an_equal_one():
    ring = Ring()
    for count, covered in ((34, 6), (33, 5)):  # of 1000 samples 1 / 30 is 33.3
        counts = [count, 200, 200, 200, 200, 200 - count]
        labels = torch.repeat_interleave(torch.arange(6), torch.tensor(counts))
        found = mode_coverage(ring.means[labels], ring)
        assert found.covered == covered
        assert found.smallest_share == pytest.approx(count / 1000, abs=1e-5)


def test_the_mixture_s_own_samples_cover_it():
    ring = Ring()
    samples, labels = ring.draw([4000] * 6)
    found = mode_coverage(samples, ring, samples, labels)
    assert found.covered == 6
    assert found.held[found.thresholds.index(3.0)] == 6
    assert found.divergence < 1e-3
    assert sum(found.shares) == pytest.approx(1)
    # of a planar Gaussian
    assert found.near == pytest.approx(1 - math.exp(-4.5), abs=0.003)
    assert found.high_quality[found.thresholds.index(3.0)] == pytest.approx(found.near, abs=0.003)


@pytest.mark.parametrize("left", [1, 2, 3])
def test_the_divergence_of_a_collapse_is_the_logarithm_of_what_is_lost(left: int):
    ring = Ring()
    found = mode_coverage(ring.means[:left].repeat(10, 1), ring)
    assert found.divergence == pytest.approx(math.log(6 / left), abs=1e-4)
    assert found.covered == left
    assert found.captured is None


def test_diverged_samples_are_far_from_every_mode():
    ring = Ring()
    samples = torch.cat([ring.means, torch.full((6, 2), float("nan"))])
    points, labels = ring.draw([50] * 6)
    found = mode_coverage(samples, ring, points, labels)
    assert (found.samples, found.finite) == (12, 6)
    assert found.near == found.high_quality[-1] == 0.5
    assert sum(found.shares) == pytest.approx(1)


def test_the_result_is_written_as_json():
    ring = Ring()
    points, labels = ring.draw([50] * 6)
    written = json.loads(json.dumps(mode_coverage(points, ring, points, labels).to_dict()))
    assert written["modes"] == 6
    assert len(written["high_quality"]) == len(written["thresholds"]) == 10


def test_bad_input_is_refused():
    points, labels = Ring().draw([2] * 6)
    with pytest.raises(ValueError, match="give one of them"):
        mode_coverage(points)
    with pytest.raises(ValueError, match="belong together"):
        mode_coverage(points, points=points)
    with pytest.raises(ValueError, match="has no covariance"):
        mode_coverage(points, points=points[1:], labels=labels[1:])
    with pytest.raises(ValueError, match="None of the 12 samples"):
        mode_coverage(points / 0, Ring())
