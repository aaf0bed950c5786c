"""Corrupting a batch of images."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lightning_prune.data.corruptions.blur import defocus_blur, gaussian_blur, motion_blur
from lightning_prune.data.corruptions.coding import jpeg_compression, pixelate
from lightning_prune.data.corruptions.colour import brightness, contrast, saturate
from lightning_prune.data.corruptions.elastic import elastic_transform
from lightning_prune.data.corruptions.glass import glass_blur
from lightning_prune.data.corruptions.levels import levels
from lightning_prune.data.corruptions.noise import (
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from lightning_prune.data.corruptions.severities import SEVERITIES, checked_names
from lightning_prune.data.corruptions.spatter import spatter
from lightning_prune.data.corruptions.streams import Streams
from lightning_prune.data.corruptions.weather import fog, snow
from lightning_prune.data.corruptions.zoom import zoom_blur

Corruption = Callable[[np.ndarray, tuple[float, ...], Streams, float], np.ndarray]

CORRUPTIONS: dict[str, Corruption] = {
    made.__name__: made
    for made in (
        gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur,
        snow, fog, brightness, contrast, elastic_transform, pixelate, jpeg_compression,
        speckle_noise, gaussian_blur, spatter, saturate,
    )
}  # fmt: skip

SIDE = 32  # pixels of the images that the table of severities is for
SMALLEST = 4  # pixels of a side below which blurs and elastic_transform make no sense
AT_ONCE = 2**19  # values that are corrupted together: 4 MiB


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    rows: Tensor | None = None,
    seed: int = 0,
    epoch: int = 0,
    peak: float = 255,
) -> Tensor:
    r"""Corrupt images as CIFAR-10-C does.

    What happens to an image depends on its pixels, on name and severity and on (seed, epoch, row)
    only, not on the batch it is in. Severities are the published ones for 32 x 32 pixels. In larger
    images lengths (of blur, motion, flakes and drops) are larger in proportion to the shorter side;
    in smaller ones they stay, because a blur of less than a pixel is none.

    The parameters are those of CIFAR-10-C throughout. What is computed is the same but for random
    numbers and rounding, except in motion_blur, snow and spatter of severity 1 to 3, which the
    mapping `APPROXIMATE` lists.

    References:
        | Benchmarking Neural Network Robustness to Common Corruptions and Perturbations (Hendrycks
          and Dietterich, 2019)
        | https://arxiv.org/abs/1903.12261

    Args:
        images: (n, 1 or 3, height, width) uint8 or float, from 0 to `peak`, sides of 4 pixels or
            more; not changed.
        name: Name of the corruption, one of `corruption_names(channels)`.
        severity: 1 to 5; 0 leaves the images as they are.
        rows: (n,) number of each image in its data set, by default 0 to n - 1.
        seed: Seed of the random numbers.
        epoch: Epoch, counted from 0.
        peak: The value of white.

    Returns:
        Images of the same shape and scale, rounded down to one of 256 levels: uint8 if the images
        are and peak is 255, otherwise float.

    Raises:
        ValueError: If there is no such corruption or severity, or it is not possible with images
            of this shape or of these values.
    """
    checked_images(images, peak)
    checked_names([name], images.shape[1])
    if severity not in range(6):
        raise ValueError(f"The severity of a corruption is from 0 to 5, got {severity}.")
    whole = images.dtype == torch.uint8 and peak == 255
    kind = torch.uint8 if whole else torch.promote_types(images.dtype, torch.get_default_dtype())
    if severity == 0 or not len(images):
        return images.to(kind)
    numbers = range(len(images)) if rows is None else rows.tolist()
    height, width = images.shape[2:]
    scale = max(1.0, min(height, width) / SIDE)
    parameters = SEVERITIES[name][int(severity) - 1]
    many = max(1, AT_ONCE // images[0].numel())
    parts = []
    for start in range(0, len(images), many):
        part = slice(start, start + many)
        streams = Streams(numbers[part], name, seed, epoch)
        x = images[part].double().numpy() / peak
        made = torch.from_numpy(levels(CORRUPTIONS[name](x, parameters, streams, scale)))
        parts.append((made if whole else made * (peak / 255)).to(kind))
    return torch.cat(parts).contiguous()


def checked_images(images: Tensor, peak: float) -> None:
    """Refuse what are no images, or not on the scale from 0 to `peak`."""
    if images.ndim != 4 or min(images.shape[2:]) < SMALLEST:
        raise ValueError(
            f"Corruptions are of images (n, channels, height, width) with sides of {SMALLEST} "
            f"pixels or more, got {tuple(images.shape)}."
        )
    if len(images) and not 0 <= float(images.min()) <= float(images.max()) <= peak:
        raise ValueError(
            f"Corruptions are of images with values from 0 to {peak:g}, got "
            f"{float(images.min()):g} to {float(images.max()):g}; take raw pixels of real images."
        )
