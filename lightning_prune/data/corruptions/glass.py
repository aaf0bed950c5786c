"""Blur of frosted glass; arguments as in `noise`."""

import numpy as np

from lightning_prune.data.corruptions.blur import smoothed
from lightning_prune.data.corruptions.levels import levels
from lightning_prune.data.corruptions.streams import Streams


def glass_blur(
    x: np.ndarray, parameters: tuple[float, ...], streams: Streams, scale: float
) -> np.ndarray:
    """Blur, take every pixel from a random place close by, and blur again.

    Parameters: standard deviation of the blur and farthest place, in pixels, and how often pixels
    are taken. The paper speaks of pixels that change places; its program, in which a row of colours
    is overwritten while it is still to be read, takes a copy and leaves the other pixel as it is.
    Here it is a copy as well, also for grey images: with true exchanges the scan would carry pixels
    far to the upper left, and the squared error at severity 1 would be 1.7 times as large.
    """
    sigma, farthest, times = parameters
    blurred = levels(smoothed(x, sigma * scale)) / 255
    flat = blurred.reshape(*x.shape[:2], -1)
    for source in sources(streams, x.shape[2:], round(farthest * scale), int(times)):
        flat = np.take_along_axis(flat, source[:, None], axis=2)
    return smoothed(flat.reshape(x.shape), sigma * scale)


def sources(
    streams: Streams, shape: tuple[int, ...], farthest: int, times: int
) -> list[np.ndarray]:
    """Where each pixel comes from, each time: (n, height * width) places.

    The first `farthest` + 1 rows and columns and the last `farthest` - 1 ones stay, and an offset
    is uniform in [-farthest, farthest), the upper end not among them, as published.
    """
    height, width = shape
    down, across = (slice(farthest + 1, length - farthest + 1) for length in shape)
    pixels = np.arange(height * width).reshape(height, width)
    drawn = streams.integers(-farthest, farthest, times, *pixels[down, across].shape, 2)
    found = []
    for offsets in drawn.transpose(1, 0, 2, 3, 4):
        place = np.repeat(pixels[None], len(offsets), axis=0)
        place[:, down, across] += offsets[..., 0] * width + offsets[..., 1]
        found.append(place.reshape(len(place), -1))
    return found
