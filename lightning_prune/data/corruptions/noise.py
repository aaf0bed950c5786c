"""Noise of the sensor, each value on its own.

Every function takes images (n, channels, height, width) in [0, 1], the parameters of one severity,
the images' random streams and the factor that lengths are scaled by; its result may leave [0, 1].
"""

import numpy as np

from lightning_prune.data.corruptions.streams import Streams

Parameters = tuple[float, ...]


def gaussian_noise(
    x: np.ndarray, parameters: Parameters, streams: Streams, scale: float
) -> np.ndarray:
    """Add normal noise; parameters: its standard deviation."""
    (sigma,) = parameters
    return x + sigma * streams.normal(*x.shape[1:])


def shot_noise(x: np.ndarray, parameters: Parameters, streams: Streams, scale: float) -> np.ndarray:
    """Count photons; parameters: how many a value of 1 is on average."""
    (photons,) = parameters
    return streams.poisson(x * photons) / photons


def impulse_noise(
    x: np.ndarray, parameters: Parameters, streams: Streams, scale: float
) -> np.ndarray:
    """Put 0 or 1, as often, in place of values; parameters: the share of values."""
    (amount,) = parameters
    chance = streams.uniform(0, 1, *x.shape[1:])
    return np.where(chance < amount / 2, 1, np.where(chance < amount, 0, x))


def speckle_noise(
    x: np.ndarray, parameters: Parameters, streams: Streams, scale: float
) -> np.ndarray:
    """Add normal noise in proportion to the value; parameters: its relative deviation."""
    (sigma,) = parameters
    return x + x * sigma * streams.normal(*x.shape[1:])
