"""Precision: sums and quotients in full, whatever the run computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Neither autocast nor reduced products of float32 (TF32, bfloat16) inside.

    Arguments:
        device_type: Of the tensors inside, such as `cuda`.
    """
    by_backend = hasattr(torch.backends.cuda.matmul, "fp32_precision")
    with (
        torch.autocast(device_type, enabled=False),
        _every_backend() if by_backend else _both_flags(),
    ):
        yield


@contextmanager
def _every_backend() -> Iterator[None]:
    # these setters give back exactly what was there, whichever way the run has set it
    known: Any = torch.backends  # older than what is asked of it, to a type checker
    backends = (known.cuda.matmul, known.cudnn.conv, known.mkldnn.matmul, known.mkldnn.conv)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@contextmanager
def _both_flags() -> Iterator[None]:
    # before torch 2.9
    products = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
