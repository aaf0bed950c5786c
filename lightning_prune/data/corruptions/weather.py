"""Fog and snow; arguments as in `noise`."""

import numpy as np

from lightning_prune.data.corruptions.blur import moved
from lightning_prune.data.corruptions.levels import levels
from lightning_prune.data.corruptions.streams import Streams
from lightning_prune.data.corruptions.zoom import zoomed

Parameters = tuple[float, ...]

GREY = np.array([0.299, 0.587, 0.114])  # shares of red, green and blue


def grey(x: np.ndarray) -> np.ndarray:
    """The grey value of each pixel: (n, 1, height, width)."""
    return x if x.shape[1] == 1 else np.einsum("nchw,c->nhw", x, GREY)[:, None]


def fog(x: np.ndarray, parameters: Parameters, streams: Streams, scale: float) -> np.ndarray:
    """Add a plasma; parameters: its strength, and how fast its small parts fade."""
    strength, decay = parameters
    height, width = x.shape[2:]
    side = 2 ** (max(height, width) - 1).bit_length()
    foggy = x + strength * plasma(streams, side, decay)[:, None, :height, :width]
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    return foggy * brightest / (brightest + strength)


def plasma(streams: Streams, side: int, decay: float) -> np.ndarray:
    r"""Random clouds by the diamond-square algorithm on a torus.

    Args:
        streams: Random streams of the images.
        side: Height and width, a power of two.
        decay: The noise of each finer grid is smaller by `decay` squared.

    Returns:
        (n, side, side), from 0 to 1.
    """
    noise = streams.uniform(-1, 1, side * side - 1)
    field = np.zeros((len(noise), side, side))
    step, wibble, used = side, 100.0, 0

    def mean(total: np.ndarray) -> np.ndarray:
        nonlocal used
        count = total[0].size
        part = noise[:, used : used + count].reshape(total.shape)
        used += count
        return total / 4 + wibble**2 * part

    while step >= 2:
        half = step // 2
        corner = field[:, ::step, ::step]
        total = corner + np.roll(corner, -1, 1)
        field[:, half::step, half::step] = mean(total + np.roll(total, -1, 2))
        centre = field[:, half::step, half::step]
        total = centre + np.roll(centre, 1, 1) + corner + np.roll(corner, -1, 2)
        field[:, ::step, half::step] = mean(total)
        total = centre + np.roll(centre, 1, 2) + corner + np.roll(corner, -1, 1)
        field[:, half::step, ::step] = mean(total)
        step, wibble = half, wibble / decay
    field -= field.min(axis=(1, 2), keepdims=True)
    return field / field.max(axis=(1, 2), keepdims=True)


def snow(x: np.ndarray, parameters: Parameters, streams: Streams, scale: float) -> np.ndarray:
    """Whiten the image and let flakes fall from both sides.

    Parameters: mean and standard deviation of the flakes, how far they are enlarged, the threshold
    that they must reach, radius and standard deviation of their motion in pixels, and the share of
    the image that is not whitened. Approximate, because the motion is (see `motion_blur`).
    """
    mean, deviation, factor, threshold, radius, sigma, kept = parameters
    flakes = mean + deviation * streams.normal(*x.shape[2:])
    flakes = zoomed(flakes, factor * scale)
    flakes = np.where(flakes < threshold, 0, levels(flakes) / 255)
    degrees = streams.uniform(-135, -45)
    flakes = moved(flakes[:, None], degrees, radius * scale, sigma * scale)
    white = kept * x + (1 - kept) * np.maximum(x, grey(x) * 1.5 + 0.5)
    return white + flakes + np.rot90(flakes, 2, axes=(2, 3))
