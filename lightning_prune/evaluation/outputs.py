"""Outputs: what the logits of two networks for the same samples have in common."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.network.batches import call


def logits_of(model: nn.Module, inputs: Any) -> Tensor:
    """(n, classes) logits of a batch, on the CPU, in single precision at least.

    Raises:
        ValueError: The network's output has another shape.
    """
    logits = call(model, inputs)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"The network gives {shape}, where logits of (n, classes) are needed.")
    logits = logits.detach().cpu()
    return logits if logits.dtype == torch.float64 else logits.float()


def finite_rows(logits: Tensor) -> Tensor:
    """(n,), which samples have finite logits only; others have no prediction."""
    return logits.isfinite().all(1)


def matching(logits: Tensor, others: Tensor) -> Tensor:
    """(n,), where both networks predict the same class.

    Of equal logits the first class counts. A sample without finite logits matches nothing.

    Arguments:
        logits: (n, classes), of one network.
        others: (n, classes), of the other.

    Raises:
        ValueError: The shapes differ.
    """
    _check(logits, others)
    both = finite_rows(logits) & finite_rows(others)
    return (logits.argmax(1) == others.argmax(1)) & both


def softmax_distances(logits: Tensor, others: Tensor) -> Tensor:
    """(n,) float64 Euclidean distances of the two softmax outputs, from 0 to sqrt(2).

    NaN where logits are not finite.

    Arguments:
        logits: (n, classes), of one network.
        others: (n, classes), of the other.

    Raises:
        ValueError: The shapes differ.
    """
    _check(logits, others)
    return (logits.double().softmax(1) - others.double().softmax(1)).norm(dim=1)


def known(value: float) -> float | None:
    """The number, or None where it is not finite."""
    return value if math.isfinite(value) else None


def _check(logits: Tensor, others: Tensor) -> None:
    if logits.ndim != 2 or logits.shape != others.shape:
        raise ValueError(
            f"Both networks need logits of (n, classes), not {tuple(logits.shape)} and "
            f"{tuple(others.shape)}."
        )
