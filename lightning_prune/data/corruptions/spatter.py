"""Drops of water or mud on the lens; arguments as in `noise`."""

import numpy as np

from lightning_prune.data.corruptions.blur import correlated, smoothed
from lightning_prune.data.corruptions.canny import edges
from lightning_prune.data.corruptions.levels import ROUNDING, levels
from lightning_prune.data.corruptions.streams import Streams
from lightning_prune.data.corruptions.weather import grey
from lightning_prune.data.corruptions.zoom import zoomed

WATER = np.array([175, 238, 238]) / 255  # pale turquoise
MUD = np.array([63, 42, 20]) / 255  # brown
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
BOX = np.full((3, 3), 1 / 9)
FAR = 20  # pixels beyond which the distance from the edge of a drop makes no difference


def spatter(
    x: np.ndarray, parameters: tuple[float, ...], streams: Streams, scale: float
) -> np.ndarray:
    """Put drops on the lens; on a grey image they have the grey value of their colour.

    Parameters: mean and standard deviation of the liquid, standard deviation of its blur in pixels,
    the threshold of a drop, the strength of water or the blur of mud in pixels, and 1 for mud.
    Water is approximate: the published images were made by OpenCV, whose edges and distances
    differ by little; mud is exact.
    """
    mean, deviation, sigma, threshold, last, mud = parameters
    liquid = mean + deviation * streams.normal(*x.shape[2:])
    liquid = smoothed(zoomed(liquid, scale) if scale > 1 else liquid, sigma * scale)
    if mud:
        share = smoothed((liquid > threshold).astype(np.float64), last * scale)
        share = np.where(share < 0.8, 0, share)[:, None]
        return x * (1 - share) + share * coloured(MUD, x.shape[1])
    shine = last * water(np.where(liquid < threshold, 0, liquid), scale)
    return x + shine[:, None] * coloured(WATER, x.shape[1])


def coloured(colour: np.ndarray, channels: int) -> np.ndarray:
    """The colour, or its grey value, beside images: (1, channels, 1, 1)."""
    colour = colour[None, :, None, None]
    return colour if channels == 3 else grey(colour)


def water(liquid: np.ndarray, scale: float) -> np.ndarray:
    """How much drops shine, embossed by the distance from their edges: (n, h, w) in [0, 1]."""
    liquid = levels(liquid)
    distance = np.minimum(distances(edges(liquid)) / scale, FAR)
    distance = np.floor(correlated(distance, BOX) + ROUNDING)
    embossed = np.clip(correlated(equalised(distance.astype(int)), EMBOSS), 0, 255)
    shine = liquid * np.rint(correlated(embossed, BOX))
    most = shine.max(axis=(1, 2), keepdims=True)
    return shine / np.where(most > 0, most, 1)


def distances(edge: np.ndarray) -> np.ndarray:
    """Pixels from the nearest edge of the same image; infinite without one: (n, h, w)."""
    from scipy.ndimage import distance_transform_edt

    out = np.full(edge.shape, np.inf)
    some = edge.any(axis=(1, 2))
    if some.any():
        apart = float(sum(edge.shape[1:]))  # other images are farther than any edge of one's own
        out[some] = distance_transform_edt(~edge[some], sampling=(apart, 1, 1))
    return out


def equalised(levels: np.ndarray) -> np.ndarray:
    """Spread the levels of each image so that all of 0 to 255 are as common: (n, h, w)."""
    count = FAR + 1
    flat = levels.reshape(len(levels), -1)
    keys = flat + count * np.arange(len(flat))[:, None]
    counts = np.bincount(keys.ravel(), minlength=count * len(flat)).reshape(-1, count)
    least = np.take_along_axis(counts, flat.min(axis=1, keepdims=True), axis=1)
    rest = flat.shape[1] - least
    table = np.rint((counts.cumsum(axis=1) - least) * 255 / np.where(rest > 0, rest, 1))
    table = np.where(rest > 0, table, np.arange(count))  # one level only stays as it is
    return np.take_along_axis(table, flat, axis=1).reshape(levels.shape)
