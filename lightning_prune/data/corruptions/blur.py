"""Blur of the lens and of motion; arguments as in `noise`."""

from math import ceil

import numpy as np

from lightning_prune.data.corruptions.streams import Streams

Parameters = tuple[float, ...]

LEAST = 1e-6  # of the largest weight of a kernel; smaller ones are left out


def gaussian_blur(
    x: np.ndarray, parameters: Parameters, streams: Streams, scale: float
) -> np.ndarray:
    """Blur by a Gaussian; parameters: its standard deviation in pixels."""
    (sigma,) = parameters
    return smoothed(x, sigma * scale)


def smoothed(x: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4) -> np.ndarray:
    """Blur the last two axes by a Gaussian cut off at `truncate` standard deviations."""
    from scipy.ndimage import gaussian_filter1d

    for axis in (-2, -1):
        x = gaussian_filter1d(x, sigma, axis, mode=mode, truncate=truncate) if sigma else x
    return x


def defocus_blur(
    x: np.ndarray, parameters: Parameters, streams: Streams, scale: float
) -> np.ndarray:
    """Blur by a disk; parameters: its radius and the deviation that smooths its edge, in pixels."""
    radius, sigma = parameters
    return correlated(x, disk(radius * scale, sigma * scale))


def disk(radius: float, sigma: float) -> np.ndarray:
    """Weights of a disk smoothed by a Gaussian of 3 x 3 pixels (5 x 5 beyond radius 8): sum 1."""
    margin = 1 if radius <= 8 else 2
    reach = int(radius) + margin
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = (x**2 + y**2 <= radius**2).astype(np.float64)
    line = np.exp(-(np.arange(-margin, margin + 1) ** 2) / (2 * sigma**2))
    line /= line.sum()
    # the margin is empty, so that no weight is lost at the edge
    for axis in (0, 1):
        inside = np.apply_along_axis(np.convolve, axis, inside, line, "same")
    return inside / inside.sum()


def correlated(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate the last two axes with a kernel of odd size, mirrored at the middle of the edge."""
    height, width = x.shape[-2:]
    reach = len(kernel) // 2
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(reach, reach)] * 2, mode="reflect")
    out = np.zeros_like(x, dtype=np.float64)
    for (top, left), weight in np.ndenumerate(kernel):
        if abs(weight) > 0:
            out += weight * padded[..., top : top + height, left : left + width]
    return out


def motion_blur(
    x: np.ndarray, parameters: Parameters, streams: Streams, scale: float
) -> np.ndarray:
    """Blur along a line within 45 degrees of the horizontal; parameters as in `moved`.

    Approximate: the published images were made by ImageMagick, whose kernel this imitates. The
    radius only cuts weights off that are next to nothing, so severities 3 and 4 are the same.
    """
    radius, sigma = parameters
    return moved(x, streams.uniform(-45, 45), radius * scale, sigma * scale)


def moved(x: np.ndarray, degrees: np.ndarray, radius: float, sigma: float) -> np.ndarray:
    """Blur each image along a line that starts at the pixel, with the edge repeated outside.

    Args:
        x: (n, channels, height, width).
        degrees: (n,) direction of the line, 0 for the right and -90 for downwards.
        radius: The line is 2 * radius + 1 pixels long.
        sigma: Standard deviation, in pixels, of the half of a Gaussian that weighs them.

    Returns:
        Images of the same shape.
    """
    weights = np.exp(-0.5 * (np.arange(2 * ceil(radius) + 1) / sigma) ** 2)
    weights = weights[weights > LEAST]
    weights /= weights.sum()
    steps = np.arange(len(weights))
    height, width = x.shape[2:]
    reach = len(weights)
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    out = np.zeros_like(x)
    for image, wide, angle in zip(out, padded, np.deg2rad(degrees), strict=True):
        tops = reach - np.rint(steps * np.sin(angle)).astype(int)
        lefts = reach + np.rint(steps * np.cos(angle)).astype(int)
        for weight, top, left in zip(weights, tops, lefts, strict=True):
            image += weight * wide[:, top : top + height, left : left + width]
    return out
