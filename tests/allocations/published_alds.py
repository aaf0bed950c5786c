"""The published allocation of ranks and slices (ALDS), written from its description.

Liebenwein et al. (2021), https://arxiv.org/abs/2107.11442, Algorithm 1, with what the published
code does where the paper leaves it open: all divisors of the channels are candidates, scanned from
the largest; the error of a layer is the largest singular value that a slice loses over the norm
of the whole weight, without the root of k; 15 seeds of 4 iterations; the search for the numbers of
slices reads the last singular value that is kept, the one for the ranks the first that is lost.
A layer whose factors are not smaller than its weight counts, and stays, dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


class InfeasibleError(ValueError):
    """No threshold meets the budget, even within half a percent."""


@dataclass
class PublishedLayer:
    """A weight seen as filters x (channels, kernel), and the errors of its slices.

    Arguments:
        weight: (filters, channels, *kernel) float32.
        known: By number of slices, errors by rank; may be shared to start with them.
    """

    weight: Tensor
    known: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows, self.channels = self.weight.shape[:2]
        self.dense = self.weight.numel()
        self.columns = self.dense // self.rows
        self.counts = [k for k in range(self.channels, 0, -1) if self.channels % k == 0]

    def errors(self, count: int) -> np.ndarray:
        """By rank, from 0 to one less than the full one; worked out at the first call."""
        if count not in self.known:
            parts = self.weight.split(self.channels // count, dim=1)
            values = torch.stack([torch.linalg.svdvals(part.flatten(1)) for part in parts])
            norm = torch.linalg.matrix_norm(self.weight.flatten(1), ord=2)  # every time anew
            self.known[count] = (values.amax(0) / norm).double().numpy()
        return self.known[count]

    def per_rank(self, count: int) -> int:
        """Parameters of one rank of all slices."""
        return count * self.rows + self.columns

    def size(self, count: int, rank: int) -> int:
        """Parameters, dense ones at most."""
        return min(self.dense, rank * self.per_rank(count))

    def rank(self, count: int, threshold: float) -> int:
        """The smallest whose error is not above the threshold."""
        errors = self.errors(count)
        return min(max(int((errors > threshold).sum()), 1), len(errors))

    def lost(self, count: int, rank: int) -> float:
        """The error of what is really done."""
        errors = self.errors(count)
        stays = rank >= len(errors) or rank * self.per_rank(count) >= self.dense
        return 0.0 if stays else float(errors[rank])

    def nearest(self, wanted: int) -> int:
        """The divisor nearest to what is wanted, of two the larger."""
        return min(self.counts, key=lambda k: (abs(k - wanted), -k))


@dataclass(frozen=True)
class Found:
    """What an allocation comes to.

    Arguments:
        counts: Of slices, by layer.
        ranks: By layer.
        error: The largest of all layers.
        size: Parameters of all layers.
    """

    counts: list[int]
    ranks: list[int]
    error: float
    size: int


@dataclass
class PublishedALDS:
    """The alternation of two steps from several seeds.

    Arguments:
        layers: All that are compressed.
        rest: Parameters that are not.
        seeds: Starts.
        iterations: Of every start.
        generator: Draws the starts behind the fourth.
    """

    layers: list[PublishedLayer]
    rest: int = 0
    seeds: int = 15
    iterations: int = 4
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def budget(self, keep: float) -> int:
        """Parameters for the layers."""
        dense = sum(layer.dense for layer in self.layers)
        return min(max(math.floor(keep * (dense + self.rest)) - self.rest, 0), dense)

    def __call__(self, keep: float) -> Found:
        """The best of all starts."""
        budget, best = self.budget(keep), None
        for seed in range(self.seeds):
            counts, threshold = self._started(self._start(seed), budget)
            counts, threshold = self._improved(counts, threshold, budget)
            if best is None or threshold < best[1]:
                best = counts, threshold
        assert best is not None
        counts, threshold = best
        ranks = self._ranks(counts, threshold)
        chosen = list(zip(self.layers, counts, ranks, strict=True))
        error = max(layer.lost(k, j) for layer, k, j in chosen)
        return Found(counts, ranks, error, sum(layer.size(k, j) for layer, k, j in chosen))

    def _start(self, seed: int) -> list[int]:
        if seed < 4:
            return [layer.nearest((3, 5, 7, 9)[seed]) for layer in self.layers]
        return [int(self.generator.choice(layer.counts)) for layer in self.layers]

    def _started(self, counts: list[int], budget: int) -> tuple[list[int], float]:
        """The start with fewer slices, by halves, until it fits."""
        while True:
            try:
                return counts, self._threshold(counts, budget)
            except InfeasibleError:
                if max(counts) == 1:
                    raise
            counts = [la.nearest(k // 2) for la, k in zip(self.layers, counts, strict=True)]

    def _improved(
        self, counts: list[int], threshold: float, budget: int
    ) -> tuple[list[int], float]:
        """After the iterations, or the start where they made it worse."""
        now, error, rounding = counts, threshold, 0.5
        for _ in range(self.iterations):
            ranks = self._ranks(now, error)
            while rounding >= -0.51:
                tried = [
                    self._subspaces(layer, rank * layer.per_rank(k), rounding, k)
                    for layer, k, rank in zip(self.layers, now, ranks, strict=True)
                ]
                try:
                    now, error = tried, self._threshold(tried, budget)
                    break
                except InfeasibleError:
                    rounding -= 0.2
            else:
                break
        return (now, error) if error < threshold else (counts, threshold)

    def _subspaces(self, layer: PublishedLayer, budget: int, rounding: float, now: int) -> int:
        """The number of slices with the smallest error in a layer's own budget."""
        best, least = now, math.inf
        for count in layer.counts:
            rank = math.floor(budget / layer.per_rank(count) + rounding)
            if rank < 1:
                continue
            errors = layer.errors(count)
            error = float(errors[min(rank, len(errors)) - 1])
            if error < least:
                best, least = count, error
        return best

    def _ranks(self, counts: list[int], threshold: float) -> list[int]:
        return [la.rank(k, threshold) for la, k in zip(self.layers, counts, strict=True)]

    def _size(self, counts: list[int], threshold: float) -> int:
        ranks = self._ranks(counts, threshold)
        return sum(la.size(k, j) for la, k, j in zip(self.layers, counts, ranks, strict=True))

    def _threshold(self, counts: list[int], budget: int) -> float:
        """At which all layers together meet the budget, by bisection; one for all of them."""
        errors = [layer.errors(k) for layer, k in zip(self.layers, counts, strict=True)]
        low, high = min(e.min() for e in errors), 1.01 * max(e.max() for e in errors)
        ends = {end: self._size(counts, end) for end in (low, high)}
        if not ends[high] <= budget <= ends[low]:
            near = min(ends, key=lambda end: abs(ends[end] - budget))
            if abs(ends[near] - budget) > 0.005 * budget:
                raise InfeasibleError(f"{ends[high]} to {ends[low]} parameters, not {budget}")
            return float(near)
        for _ in range(60):
            middle = (low + high) / 2
            size = self._size(counts, middle)
            if size == budget:
                return float(middle)
            low, high = (middle, high) if size > budget else (low, middle)
        return float(high)


def power_law(shape: tuple[int, ...], generator: torch.Generator, exponent: float = 0.6) -> Tensor:
    """A weight whose folded matrix has the singular values i^-exponent in random directions."""
    rows, columns = shape[0], math.prod(shape[1:])
    rank = min(rows, columns)
    sides = [
        torch.linalg.qr(torch.randn(size, rank, generator=generator, dtype=torch.float64))[0]
        for size in (rows, columns)
    ]
    decay = torch.arange(1, rank + 1, dtype=torch.float64) ** -exponent
    return (sides[0] * decay @ sides[1].T).float().view(shape)
