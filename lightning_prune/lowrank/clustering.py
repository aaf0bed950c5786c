"""Clustering: points to the nearest of several subspaces, which are fitted to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.lowrank.spectra import singular_vectors


@dataclass(frozen=True, eq=False)
class Clustering:
    """Points and their subspaces.

    Arguments:
        owner: (points,) int64, the subspace of each.
        bases: (clusters, size, rank) float64, orthonormal in columns; columns of zeros where a
            cluster needs fewer.
        history: Sums of squared distances: of the start, then after every assignment and every
            fit in turn.
    """

    owner: Tensor
    bases: Tensor
    history: tuple[float, ...]

    @property
    def cost(self) -> float:
        """Sum of the squared distances of the points to their subspaces."""
        return self.history[-1]


@torch.no_grad()
def cluster(
    points: Tensor,
    clusters: int,
    rank: int,
    generator: torch.Generator | None = None,
    restarts: int = 5,
    steps: int = 20,
) -> Clustering:
    r"""Subspaces through 0 with the least sum of squared distances of points to the nearest one.

    Subspaces are fitted to their points and points go to the nearest subspace, in turn, until no
    point moves. Neither half ever raises the sum; a cluster with fewer points than `rank` takes
    the worst fitted ones of others, and fits them all. What is found is the best of several
    starts, and no minimum of all there are. The first start is a partition into blocks of
    consecutive points, so nothing is worse than those, the others are random and balanced.

    References:
        | Deep Learning meets Projective Clustering (Maalouf et al., 2020)
        | https://arxiv.org/abs/2010.04290

    Arguments:
        points: (count, size) in rows, any real dtype.
        clusters: Number of subspaces.
        rank: Their dimension.
        generator: Of the random starts, on the CPU; None: blocks alone are the start.
        restarts: Starts in all, the blocks among them.
        steps: Assignments and fits at most, by start.

    Raises:
        ValueError: There are fewer points than `clusters * rank`, or they are not finite.
    """
    count = len(points)
    if count < clusters * rank:
        raise ValueError(f"{count} points do not make {clusters} clusters of {rank} or more.")
    if not bool(points.isfinite().all()):
        raise ValueError("points that are NaN or infinite are near to no subspace.")
    exact = points.to(torch.float64)
    starts = [torch.arange(count) * clusters // count]
    if generator is not None and clusters > 1:
        starts += [
            torch.randperm(count, generator=generator) % clusters for _ in range(restarts - 1)
        ]
    found = [_descend(exact, start.to(points.device), clusters, rank, steps) for start in starts]
    return min(found, key=lambda one: one.cost)


def _descend(points: Tensor, owner: Tensor, clusters: int, rank: int, steps: int) -> Clustering:
    squares = points.square().sum(1)
    owner = _filled(owner, torch.zeros_like(squares), clusters, rank)
    bases = fit(points, owner, clusters, rank)
    distances = _distances(points, squares, bases)
    history = [float(_own(distances, owner).sum())]
    for _ in range(steps):
        least, nearest = distances.min(0)
        moved = torch.where(least < _own(distances, owner), nearest, owner)
        if torch.equal(moved, owner):
            break
        history.append(float(least.sum()))
        owner = _filled(moved, least, clusters, rank)
        bases = fit(points, owner, clusters, rank)
        distances = _distances(points, squares, bases)
        history.append(float(_own(distances, owner).sum()))
    return Clustering(owner, bases, tuple(history))


def fit(points: Tensor, owner: Tensor, clusters: int, rank: int) -> Tensor:
    """(clusters, size, rank) float64: the subspace of each cluster, by eigenvectors."""
    bases = points.new_zeros(clusters, points.shape[1], rank, dtype=torch.float64)
    for place in range(clusters):
        own = points[owner == place].to(torch.float64)
        if len(own) and rank:
            left, _, _ = singular_vectors(own.T[None])
            bases[place, :, : left.shape[2]] = left[0, :, :rank]
    return bases


def _distances(points: Tensor, squares: Tensor, bases: Tensor) -> Tensor:
    """(clusters, points) squared, without the complements of the subspaces."""
    return (squares - (points @ bases).square().sum(2)).clamp_min_(0)


def _own(distances: Tensor, owner: Tensor) -> Tensor:
    return distances.gather(0, owner[None])[0]


def _filled(owner: Tensor, distance: Tensor, clusters: int, rank: int) -> Tensor:
    """The owners, with clusters of fewer points than `rank` filled by the worst fitted ones."""
    counts = torch.bincount(owner, minlength=clusters).tolist()
    if min(counts) >= rank:
        return owner
    owner = owner.clone()
    small = [place for place in range(clusters) if counts[place] < rank]
    for point in distance.argsort(descending=True, stable=True).tolist():
        donor = int(owner[point])
        if counts[donor] <= rank:
            continue
        taker = next((place for place in small if counts[place] < rank), None)
        if taker is None:
            break
        owner[point] = taker
        counts[donor] -= 1
        counts[taker] += 1
    return owner
