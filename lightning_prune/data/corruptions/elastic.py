"""Stretching an image as if it were rubber; arguments as in `noise`."""

from collections.abc import Callable

import numpy as np

from lightning_prune.data.corruptions.blur import smoothed
from lightning_prune.data.corruptions.streams import Streams

Fold = Callable[[np.ndarray, int], np.ndarray]


def elastic_transform(
    x: np.ndarray, parameters: tuple[float, ...], streams: Streams, scale: float
) -> np.ndarray:
    """Move three points of the image, then every pixel by smooth noise.

    Parameters: strength and standard deviation of the smooth displacement, and how far each of the
    three points moves at most, all as shares of the shorter side, for images of any size.
    """
    height, width = x.shape[2:]
    strength, sigma, jitter = (share * min(height, width) for share in parameters)
    y, across = np.mgrid[:height, :width].astype(np.float64)
    x = interpolated(x, *affine(streams, (height, width), jitter, y, across), mirrored)
    if not strength:
        return x
    noise = smoothed(streams.uniform(-1, 1, 2, height, width), sigma, "reflect", truncate=3)
    # smoothing over more pixels leaves less of white noise
    right, down = (strength * scale * noise).transpose(1, 0, 2, 3)
    return interpolated(x, y + down, across + right, repeated)


def affine(
    streams: Streams, shape: tuple[int, int], jitter: float, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel comes from when three points around the middle move: rows and columns."""
    middle = np.array(shape)[::-1] // 2  # the column first
    side = min(shape) // 3
    points = middle + side * np.array([[1, 1], [1, -1], [-1, -1]], dtype=np.float64)
    moved = points + streams.uniform(-jitter, jitter, 3, 2)
    ones = np.ones((len(moved), 3, 1))
    back = np.linalg.solve(np.concatenate([moved, ones], 2), np.broadcast_to(points, moved.shape))
    column, row = (
        back[:, 0, axis, None, None] * x + back[:, 1, axis, None, None] * y
        + back[:, 2, axis, None, None]
        for axis in (0, 1)
    )  # fmt: skip
    return row, column


def interpolated(image: np.ndarray, y: np.ndarray, x: np.ndarray, fold: Fold) -> np.ndarray:
    """Take images at other places, linearly between the four pixels around each.

    Args:
        image: (n, channels, height, width).
        y: (n, height, width) rows.
        x: (n, height, width) columns.
        fold: Brings whole numbers outside the image inside.

    Returns:
        Images of the same shape.
    """
    height, width = image.shape[2:]
    flat = image.reshape(*image.shape[:2], -1)
    top, left = np.floor(y), np.floor(x)
    down, right = y - top, x - left
    out = np.zeros_like(flat)
    for step_y, share_y in ((0, 1 - down), (1, down)):
        row = fold(top.astype(int) + step_y, height) * width
        for step_x, share_x in ((0, 1 - right), (1, right)):
            place = (row + fold(left.astype(int) + step_x, width)).reshape(len(image), 1, -1)
            share = (share_y * share_x).reshape(len(image), 1, -1)
            out += share * np.take_along_axis(flat, place, axis=2)
    return out.reshape(image.shape)


def mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """Fold at the middle of the edge pixels: dcb|abcd|cba."""
    index = np.abs(index) % (2 * length - 2)
    return np.minimum(index, 2 * length - 2 - index)


def repeated(index: np.ndarray, length: int) -> np.ndarray:
    """Fold at the outer side of the edge pixels: cba|abcd|dcb."""
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)
