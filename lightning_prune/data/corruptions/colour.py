"""Changes of light and colour; arguments as in `noise`.

Of hue, saturation and value only the last two change, and hue needs no computing: a channel is
value * (1 - saturation * share) with a share that the hue alone determines.
"""

import numpy as np

from lightning_prune.data.corruptions.streams import Streams

Parameters = tuple[float, ...]


def brightness(x: np.ndarray, parameters: Parameters, streams: Streams, scale: float) -> np.ndarray:
    """Raise the value of hue, saturation and value; parameters: by how much."""
    (raised,) = parameters
    value = x.max(axis=1, keepdims=True)
    brighter = np.minimum(value + raised, 1)
    dark = value == 0
    return np.where(dark, brighter, x * (brighter / np.where(dark, 1, value)))


def saturate(x: np.ndarray, parameters: Parameters, streams: Streams, scale: float) -> np.ndarray:
    """Change the saturation of hue, saturation and value; parameters: factor and summand.

    A grey pixel counts as red of saturation 0, so a positive summand reddens it, as published.
    """
    factor, summand = parameters
    value = x.max(axis=1, keepdims=True)
    chroma = value - x.min(axis=1, keepdims=True)
    grey = chroma == 0
    saturation = chroma / np.where(value == 0, 1, value)
    red = np.array([0.0, 1.0, 1.0])[None, :, None, None]
    share = np.where(grey, red, (value - x) / np.where(grey, 1, chroma))
    return value * (1 - np.clip(saturation * factor + summand, 0, 1) * share)


def contrast(x: np.ndarray, parameters: Parameters, streams: Streams, scale: float) -> np.ndarray:
    """Shrink the differences from each channel's mean; parameters: to which share."""
    (share,) = parameters
    mean = x.reshape(*x.shape[:2], -1).mean(axis=2)[:, :, None, None]
    return (x - mean) * share + mean
