"""Corruptions against slow programs that follow the published one step by step."""

import colorsys
import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.signal import convolve2d

from lightning_prune.data import CIFAR10, corrupt
from lightning_prune.data.corruptions import SEVERITIES
from lightning_prune.data.corruptions.streams import Streams

SEVERITY = range(1, 6)


@pytest.fixture(scope="module")
def images(data_root):
    """Three photographs, and one that is random, black and white in parts."""
    made = CIFAR10(data_root, subset="small").read(train=False)[0][:4].clone()
    made[3] = torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(1))
    made[3, :, :8], made[3, :, 8:16] = 0, 255
    return made


def rounded_down(x):
    return np.floor(np.clip(x, 0, 1) * 255 + 1e-4)


def compare(images, name, severity, reference):
    """`reference` takes (height, width, channels) in [0, 1] and the image's random stream."""
    made = corrupt(images, name, severity, seed=3).permute(0, 2, 3, 1).numpy().astype(float)
    parameters = SEVERITIES[name][severity - 1]
    for row, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        expected = rounded_down(reference(image / 255.0, Streams([row], name, 3, 0), *parameters))
        assert np.array_equal(made[row], expected)


@pytest.mark.parametrize("severity", SEVERITY)
def test_gaussian_blur(images, severity):
    def reference(x, streams, sigma):
        reach = int(4 * sigma + 0.5)
        kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
        kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
        wide = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
        return np.stack([convolve2d(wide[..., c], kernel, "valid") for c in range(3)], -1)

    compare(images, "gaussian_blur", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
def test_defocus_blur(images, severity):
    def reference(x, streams, radius, sigma):
        x1, y1 = np.meshgrid(np.arange(-8, 9), np.arange(-8, 9))
        disk = np.array(x1**2 + y1**2 <= radius**2, dtype=float)
        line = np.exp(-np.array([1, 0, 1]) / (2 * sigma**2))
        kernel = convolve2d(disk / disk.sum(), np.outer(line, line) / line.sum() ** 2, "same")
        assert kernel.sum() == pytest.approx(1, abs=1e-12)
        return np.stack([ndimage.correlate(x[..., c], kernel, mode="mirror") for c in range(3)], -1)

    compare(images, "defocus_blur", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
def test_glass_blur(images, severity):
    def reference(x, streams, sigma, farthest, times):
        def blur(x):
            return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest")

        offsets = streams.integers(-1, 1, times, 30, 30, 2)[0]
        x = rounded_down(blur(x)).astype(np.uint8)
        for i in range(times):
            for h in range(32 - farthest, farthest, -1):
                for w in range(32 - farthest, farthest, -1):
                    dy, dx = offsets[i, h - 2, w - 2]
                    h1, w1 = h + dy, w + dx
                    # as published; NumPy copies the row that is overwritten first
                    x[h, w], x[h1, w1] = x[h1, w1], x[h, w]
        return blur(x / 255.0)

    compare(images, "glass_blur", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
def test_zoom_blur(images, severity):
    def reference(x, streams, *span):
        factors = np.arange(*span)
        assert factors[-1] == pytest.approx(span[1], abs=0.0101)
        total = x.copy()
        for factor in factors:
            cut = int(np.ceil(32 / factor))
            top = (32 - cut) // 2
            part = x[top : top + cut, top : top + cut]
            part = ndimage.zoom(part, (factor, factor, 1), order=1)
            trim = (len(part) - 32) // 2
            total += part[trim : trim + 32, trim : trim + 32]
        return total / (len(factors) + 1)

    compare(images, "zoom_blur", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
def test_fog(images, severity):
    def plasma(uniform, decay):
        """Pixel by pixel on the torus, coarse to fine."""
        uniform, field = iter(uniform), np.zeros((32, 32))
        step, wibble = 32, 100.0
        while step >= 2:
            half = step // 2
            grid = range(0, 32, step)
            for kind in ((half, half), (0, half), (half, 0)):
                diagonal = kind == (half, half)
                around = [(-half, -half), (-half, half), (half, -half), (half, half)]
                around = around if diagonal else [(-half, 0), (half, 0), (0, -half), (0, half)]
                for y in grid:
                    for x in grid:
                        at = y + kind[0], x + kind[1]
                        near = [field[(at[0] + a) % 32, (at[1] + b) % 32] for a, b in around]
                        field[at] = sum(near) / 4 + wibble * wibble * next(uniform)
            step, wibble = half, wibble / decay
        field -= field.min()
        return field / field.max()

    def reference(x, streams, strength, decay):
        uniform = streams.uniform(-1, 1, 1023)[0]
        most = x.max()
        return (x + strength * plasma(uniform, decay)[..., None]) * most / (most + strength)

    compare(images, "fog", severity, reference)


def hsv(x, change):
    flat = [
        colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in x.reshape(-1, 3)
    ]
    return np.array(flat).reshape(x.shape)


@pytest.mark.parametrize("severity", SEVERITY)
def test_brightness(images, severity):
    def reference(x, streams, raised):
        return hsv(x, lambda h, s, v: (h, s, min(v + raised, 1)))

    compare(images, "brightness", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
def test_saturate(images, severity):
    def reference(x, streams, factor, summand):
        return hsv(x, lambda h, s, v: (h, min(s * factor + summand, 1), v))

    compare(images, "saturate", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
def test_elastic_transform(images, severity):
    def reference(x, streams, strength, sigma, jitter):
        points = np.array([[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]])  # x and y
        moved = points + streams.uniform(-32 * jitter, 32 * jitter, 3, 2)[0]
        # moved = points @ matrix.T + shift: solved for its six numbers one after the other
        design = np.zeros((6, 6))
        design[0::2, 0:2], design[0::2, 2] = points, 1
        design[1::2, 3:5], design[1::2, 5] = points, 1
        a, b, c, d, e, f = np.linalg.solve(design, moved.ravel())
        matrix = np.linalg.inv([[e, d, f], [b, a, c], [0, 0, 1]])  # rows first, and backwards
        x = np.stack(
            [
                ndimage.affine_transform(x[..., k], matrix, order=1, mode="mirror")
                for k in range(3)
            ], -1,
        )  # fmt: skip
        if not strength:
            return x
        right, down = (
            32 * strength * ndimage.gaussian_filter(noise, 32 * sigma, mode="reflect", truncate=3)
            for noise in streams.uniform(-1, 1, 2, 32, 32)[0]
        )
        rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
        places = [rows + down, columns + right]
        return np.stack(
            [ndimage.map_coordinates(x[..., k], places, order=1, mode="reflect") for k in range(3)],
            -1,
        )

    compare(images, "elastic_transform", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixelate_and_jpeg_are_those_of_pillow(images, severity, channels):
    images = images[:, :channels]
    share = SEVERITIES["pixelate"][severity - 1][0]
    side = int(32 * share)
    (quality,) = SEVERITIES["jpeg_compression"][severity - 1]
    coarse = corrupt(images, "pixelate", severity)
    stored = corrupt(images, "jpeg_compression", severity)
    for row, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        image = Image.fromarray(image[..., 0] if channels == 1 else image)
        small = image.resize((side, side), Image.Resampling.BOX)
        expected = np.asarray(small.resize((32, 32), Image.Resampling.BOX))
        assert np.array_equal(coarse[row].permute(1, 2, 0).squeeze(-1).numpy(), expected)
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        expected = np.asarray(Image.open(file))
        assert np.array_equal(stored[row].permute(1, 2, 0).squeeze(-1).numpy(), expected)


@pytest.mark.parametrize("severity", SEVERITY)
def test_motion_blur(images, severity):
    def reference(x, streams, radius, sigma):
        angle = math.radians(streams.uniform(-45, 45)[0])
        steps = range(2 * radius + 1)
        weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in steps]
        weights = [w if w > 1e-6 else 0 for w in weights]
        out = np.zeros_like(x)
        for i, weight in zip(steps, weights, strict=True):
            rows = np.clip(np.arange(32) - round(i * math.sin(angle)), 0, 31)
            columns = np.clip(np.arange(32) + round(i * math.cos(angle)), 0, 31)
            out += weight / sum(weights) * x[rows][:, columns]
        return out

    compare(images, "motion_blur", severity, reference)


@pytest.mark.parametrize("severity", [4, 5])
def test_spatter_of_mud(images, severity):
    def reference(x, streams, *parameters):
        mean, deviation, sigma, threshold, blur, mud = parameters
        assert mud
        liquid = mean + deviation * streams.normal(32, 32)[0]
        liquid = ndimage.gaussian_filter(liquid, sigma, mode="nearest")
        liquid[liquid < threshold] = 0
        share = np.where(liquid > threshold, 1.0, 0.0)
        share = ndimage.gaussian_filter(share, blur, mode="nearest")
        share[share < 0.8] = 0
        share = share[..., None]
        return x * (1 - share) + share * np.array([63, 42, 20]) / 255

    compare(images, "spatter", severity, reference)


@pytest.mark.parametrize("severity", SEVERITY)
def test_snow(images, severity):
    def reference(x, streams, *parameters):
        mean, deviation, factor, threshold, radius, sigma, kept = parameters
        flakes = mean + deviation * streams.normal(32, 32)[0]
        angle = math.radians(streams.uniform(-135, -45)[0])
        cut = math.ceil(32 / factor)
        top = (32 - cut) // 2
        flakes = ndimage.zoom(flakes[top : top + cut, top : top + cut], factor, order=1)
        trim = (len(flakes) - 32) // 2
        flakes = flakes[trim : trim + 32, trim : trim + 32]
        flakes = np.where(flakes < threshold, 0, rounded_down(flakes) / 255)
        wide = np.pad(flakes, 40, mode="edge")
        layer, total = np.zeros((32, 32)), 0.0
        for i in range(2 * radius + 1):
            weight = math.exp(-0.5 * (i / sigma) ** 2)
            y, across = 40 - round(i * math.sin(angle)), 40 + round(i * math.cos(angle))
            layer += weight * wide[y : y + 32, across : across + 32]
            total += weight
        layer = (layer / total)[..., None]
        grey = x @ np.array([0.299, 0.587, 0.114])
        white = np.maximum(x, grey[..., None] * 1.5 + 0.5)
        return kept * x + (1 - kept) * white + layer + np.rot90(layer, 2)

    compare(images, "snow", severity, reference)
