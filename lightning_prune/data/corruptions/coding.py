"""What storing an image loses; arguments as in `noise`."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from lightning_prune.data.corruptions.streams import Streams

Parameters = tuple[float, ...]


def pixelate(x: np.ndarray, parameters: Parameters, streams: Streams, scale: float) -> np.ndarray:
    """Shrink by averaging and enlarge again; parameters: the share of height and of width."""
    (share,) = parameters
    height, width = x.shape[2:]
    small = max(1, int(width * share)), max(1, int(height * share))

    def change(image: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return image.resize(small, box).resize((width, height), box)

    return with_pillow(x, change)


def jpeg_compression(
    x: np.ndarray, parameters: Parameters, streams: Streams, scale: float
) -> np.ndarray:
    """Write and read as JPEG; parameters: the quality, from 1 to 95."""
    (quality,) = parameters

    def change(image: Image.Image) -> Image.Image:
        stored = BytesIO()
        image.save(stored, "JPEG", quality=int(quality))
        return Image.open(stored)

    return with_pillow(x, change)


def with_pillow(x: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Hand each image over as bytes and take the bytes that come back."""
    stored = np.rint(x * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    stored = stored[..., 0] if x.shape[1] == 1 else stored
    changed = [np.asarray(change(Image.fromarray(np.ascontiguousarray(each)))) for each in stored]
    return np.stack(changed).reshape(len(x), *x.shape[2:], -1).transpose(0, 3, 1, 2) / 255
