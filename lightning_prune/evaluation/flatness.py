"""Flatness: how sharply a loss bends around the parameters that pruning left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_prune.evaluation.hessian import BATCH, Hessian, Progress

SEED = 0  # of start vector and probes: the same question has the same answer
TOLERANCE = 1e-4  # relative, of iterated eigenvalues; float32 products allow little less
RATIOS = ("largest", "trace", "condition", "condition_median")


@dataclass(frozen=True)
class Flatness:
    """Numbers of a loss's Hessian over the k entries that are not zero.

    Arguments:
        size: k.
        exact: Whether they are of the whole spectrum; else `trace` is an estimate, and what needs
            every eigenvalue is None.
        loss: In the loss's unit.
        largest: Largest eigenvalue, in the loss's unit per squared parameter, as the next four.
        smallest: Smallest eigenvalue, most often below 0.
        trace: Sum of all eigenvalues.
        trace_error: Standard error of the trace; 0 where it is exact.
        trace_positive: Sum of the positive eigenvalues, which the paper calls the trace.
        condition: Largest over smallest positive eigenvalue, as in the paper. The smallest
            positive one is round-off in most networks, and so is this number; compare by the next.
        condition_median: Largest over the median of the eigenvalues' sizes.
        negative: Share of eigenvalues below 0 by more than round-off.
    """

    size: int
    exact: bool
    loss: float
    largest: float
    smallest: float
    trace: float
    trace_error: float = 0.0
    trace_positive: float | None = None
    condition: float | None = None
    condition_median: float | None = None
    negative: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Numbers by name, as JSON knows them."""
        return asdict(self)

    def relative(self, to: Flatness) -> dict[str, float | None]:
        """Largest eigenvalue, trace and both conditions as multiples of another network's.

        Arguments:
            to: Of the dense network, or of the dense control, which trained as long.

        Returns:
            By name; None where a number is unknown or the other's is 0.
        """
        pairs = {name: (getattr(self, name), getattr(to, name)) for name in RATIOS}
        return {name: _ratio(*pair) for name, pair in pairs.items()}


def flatness(
    loss_fn: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    masks: Sequence[Tensor] | None = None,
    limit: int = 700,
    probes: int = 100,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Flatness:
    """How sharply the loss bends along the parameters' entries that are not zero.

    Up to `limit` entries the Hessian is computed whole, by as many products, and its numbers are
    exact. Above, Lanczos' iteration gives both ends of the spectrum and the trace is the mean of
    v' H v over random signs v (Hutchinson), with its standard error.

    Arguments:
        loss_fn: Gives a scalar that can be differentiated twice; called once.
        parameters: Tensors that require gradients, in the precision that is wanted.
        masks: True where entries count; None: where they are not zero.
        limit: Entries up to which the whole matrix is computed.
        probes: Random vectors of the estimated trace, at least 2.
        batch: Products computed together; see `Hessian.dense`.
        progress: Called with the numbers of products done and in all; Lanczos' are not counted.

    Raises:
        ValueError: A parameter requires no gradient, masks do not match, no entry is left, or
            the Hessian is not finite.

    Source:
        Lucas Liebenwein, Ramin Hasani, Alexander Amini and Daniela Rus, "Sparse Flows: Pruning
        Continuous-depth Models", NeurIPS 2021, arXiv:2106.12718, which looks at largest
        eigenvalue, trace and condition number over the entries left, relative to the dense
        network. Its numbers are of positive Ritz values; these are of the matrix.
    """
    hessian = Hessian(loss_fn, parameters, masks)
    # Lanczos finds two eigenvalues of three and more
    if hessian.size <= max(limit, 2):
        return _of_spectrum(hessian, hessian.dense(batch, progress))
    smallest, largest = extreme_eigenvalues(hessian)
    trace, error = estimate_trace(hessian, probes, batch, progress)
    return Flatness(hessian.size, False, hessian.loss, largest, smallest, trace, error)


def extreme_eigenvalues(hessian: Hessian) -> tuple[float, float]:
    """The smallest and the largest eigenvalue, by Lanczos' iteration from a fixed vector."""
    import numpy as np
    from scipy.sparse.linalg import LinearOperator, eigsh

    def multiply(vector: np.ndarray) -> np.ndarray:
        product = hessian.product(torch.from_numpy(vector).reshape(-1)).numpy()
        _check_finite(bool(np.isfinite(product).all()))
        return product

    shape = (hessian.size, hessian.size)
    # random: a vector of ones can be orthogonal to what the units' symmetry makes
    start = np.random.default_rng(SEED).standard_normal(hessian.size)
    operator = LinearOperator(shape, matvec=multiply, dtype=np.float64)
    ends = eigsh(operator, 2, which="BE", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return float(ends.min()), float(ends.max())


def estimate_trace(
    hessian: Hessian, probes: int = 100, batch: int = BATCH, progress: Progress | None = None
) -> tuple[float, float]:
    """The mean of v' H v over vectors of random signs, and its standard error.

    Raises:
        ValueError: There are fewer than 2 probes, or a product is not finite.
    """
    if probes < 2:
        raise ValueError(f"A standard error needs 2 probes or more, not {probes}.")
    generator = torch.Generator().manual_seed(SEED)
    values = torch.empty(probes, dtype=torch.float64)
    for start in range(0, probes, batch):
        stop = min(start + batch, probes)
        signs = torch.randint(2, (stop - start, hessian.size), generator=generator).double() * 2 - 1
        products = hessian.product(signs[0] if batch == 1 else signs)
        values[start:stop] = (signs * products).sum(1)
        if progress is not None:
            progress(stop, probes)
    _check_finite(bool(values.isfinite().all()))
    return float(values.mean()), float(values.std() / math.sqrt(probes))


def _of_spectrum(hessian: Hessian, matrix: Tensor) -> Flatness:
    _check_finite(bool(matrix.isfinite().all()))
    values = torch.linalg.eigvalsh(matrix)
    smallest, largest = float(values[0]), float(values[-1])
    sizes = values.abs()
    positive = values[values > 0]
    round_off = hessian.size * hessian.precision * float(sizes.max())
    return Flatness(
        hessian.size,
        True,
        hessian.loss,
        largest,
        smallest,
        trace=float(matrix.trace()),
        trace_positive=float(positive.sum()),
        condition=_ratio(largest, float(positive[0])) if len(positive) else None,
        # of an even number the mean of the two in the middle
        condition_median=_ratio(largest, float(sizes.quantile(0.5))),
        negative=float((values < -round_off).double().mean()),
    )


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _check_finite(finite: bool) -> None:
    if not finite:
        raise ValueError("The Hessian is not finite: the loss, or its solver, has diverged.")
