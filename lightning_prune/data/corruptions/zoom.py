"""Blur of zooming in, and enlarging by a factor; arguments as in `noise`."""

from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from lightning_prune.data.corruptions.streams import Streams


def zoom_blur(
    x: np.ndarray, parameters: tuple[float, ...], streams: Streams, scale: float
) -> np.ndarray:
    """Average over the image and enlargements; parameters: `arange` of the factors.

    The image itself counts twice, since 1 is among the factors, as published.
    """
    factors = np.arange(*parameters)
    enlarged = zoomed(x, *factors.tolist())
    return (x + enlarged) / (len(factors) + 1)


def zoomed(x: np.ndarray, *factors: float) -> np.ndarray:
    """Enlarge the middle of the last two axes to the old size by each factor, and add up."""
    height, width = x.shape[-2:]
    flat = x.reshape(-1, height * width)
    return (zooms(height, width, factors) @ flat.T).T.reshape(x.shape)


@lru_cache(maxsize=64)
def zooms(height: int, width: int, factors: tuple[float, ...]) -> Any:
    """Sum of enlargements as one sparse matrix: (pixels, pixels)."""
    from scipy.sparse import csr_matrix, kron

    total = csr_matrix((height * width, height * width))
    for factor in factors:
        total = total + kron(lines(height, factor), lines(width, factor), format="csr")
    return total


def lines(length: int, factor: float) -> Any:
    """Enlargement of one axis, with linear interpolation: (length, length) sparse matrix."""
    from scipy.sparse import csr_matrix

    cut = ceil(length / factor)
    size = round(cut * factor)
    places = np.arange(length) + (size - length) // 2
    source = places * ((cut - 1) / (size - 1)) + (length - cut) // 2
    low = np.minimum(source.astype(int), length - 2)
    weights = np.stack([1 - (source - low), source - low], axis=1)
    row = np.repeat(np.arange(length), 2)
    column = np.stack([low, low + 1], axis=1)
    return csr_matrix((weights.ravel(), (row, column.ravel())), (length, length))
