"""Corruptions against what their distributions are, before values are rounded."""

import math

import numpy as np
import pytest
import torch

from lightning_prune.data import corrupt
from lightning_prune.data.corruptions import SEVERITIES, canny, spatter
from lightning_prune.data.corruptions.blur import disk, moved
from lightning_prune.data.corruptions.colour import contrast
from lightning_prune.data.corruptions.noise import (
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from lightning_prune.data.corruptions.streams import Streams
from lightning_prune.data.corruptions.weather import plasma
from lightning_prune.data.corruptions.zoom import zoomed

SEVERITY = range(1, 6)


def flat(value, count=60):
    return np.full((count, 3, 32, 32), float(value))


def streams(count=60, name="noise"):
    return Streams(range(count), name, 0, 0)


@pytest.mark.parametrize("severity", SEVERITY)
@pytest.mark.parametrize("noise", [gaussian_noise, speckle_noise])
def test_noise_is_normal(noise, severity):
    (sigma,) = SEVERITIES[noise.__name__][severity - 1]
    value = 0.4
    added = noise(flat(value), (sigma,), streams(), 1.0) - value
    sigma *= value if noise is speckle_noise else 1
    assert abs(added.mean()) < 3 * sigma / math.sqrt(added.size)
    assert abs(added.std() - sigma) < 3 * sigma / math.sqrt(2 * added.size)
    # the share within one standard deviation
    share = (np.abs(added) < sigma).mean()
    assert abs(share - 0.6827) < 3 * math.sqrt(0.6827 * 0.3173 / added.size)


@pytest.mark.parametrize("severity", SEVERITY)
@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
def test_photons_have_the_mean_and_the_variance_of_the_value(value, severity):
    (photons,) = SEVERITIES["shot_noise"][severity - 1]
    made = shot_noise(flat(value), (photons,), streams(), 1.0)
    variance = value / photons
    assert abs(made.mean() - value) <= 3 * math.sqrt(variance / made.size)
    # the fourth central moment of a Poisson number m is m + 3 m^2
    error = math.sqrt((value * photons + 2 * (value * photons) ** 2) / made.size) / photons**2
    assert abs(made.var() - variance) <= 3 * error


@pytest.mark.parametrize("severity", SEVERITY)
def test_impulses_are_as_many_as_said_and_half_of_them_white(severity):
    (amount,) = SEVERITIES["impulse_noise"][severity - 1]
    made = impulse_noise(flat(0.5), (amount,), streams(), 1.0)
    hit = made != 0.5
    assert abs(hit.mean() - amount) < 3 * math.sqrt(amount * (1 - amount) / made.size)
    assert set(np.unique(made)) == {0, 0.5, 1}
    assert abs(made[hit].mean() - 0.5) < 3 * 0.5 / math.sqrt(hit.sum())
    # each value of a pixel on its own
    alone = hit.sum(axis=1) == 1
    assert abs(alone.mean() - 3 * amount * (1 - amount) ** 2) < 0.005


def test_a_stream_for_each_image():
    draws = streams(500).uniform(0, 1, 40)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 3 / math.sqrt(500)
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 3 / math.sqrt(499 * 40)
    other = streams(500, "other").uniform(0, 1, 40)
    assert abs(np.corrcoef(draws.ravel(), other.ravel())[0, 1]) < 3 / math.sqrt(500 * 40)
    whole = streams(6).integers(-1, 1, 3000)
    assert set(np.unique(whole)) == {-1, 0}
    assert abs(whole.mean() + 0.5) < 3 * 0.5 / math.sqrt(18_000)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1, 1.5, 4, 12])
def test_a_disk_weighs_one_and_is_symmetric(radius):
    kernel = disk(radius, 0.4)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    for turned in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(kernel, turned, atol=1e-15)
    assert (len(kernel) // 2) == int(radius) + (1 if radius <= 8 else 2)


@pytest.mark.parametrize("severity", SEVERITY)
def test_contrast_keeps_the_mean_of_each_channel(severity):
    x = np.random.default_rng(0).uniform(0, 1, (5, 3, 16, 16))
    made = contrast(x, SEVERITIES["contrast"][severity - 1], streams(5), 1.0)
    np.testing.assert_allclose(made.mean((2, 3)), x.mean((2, 3)), atol=1e-12)
    share = SEVERITIES["contrast"][severity - 1][0]
    np.testing.assert_allclose(made.std((2, 3)), share * x.std((2, 3)), atol=1e-12)
    stored = corrupt(torch.from_numpy(x * 255), "contrast", severity).numpy()
    assert np.abs(stored.mean((2, 3)) - 255 * x.mean((2, 3))).max() <= 1  # rounding down


def test_motion_follows_its_line():
    x = np.zeros((3, 1, 21, 21))
    x[:, :, 10, 10] = 1
    made = moved(x, np.array([0.0, -90.0, 45.0]), 6, 2.0)
    weights = np.exp(-0.5 * (np.arange(11) / 2.0) ** 2)
    weights /= weights.sum()
    np.testing.assert_allclose(made[0, 0, 10, 10::-1], weights, atol=1e-6)
    np.testing.assert_allclose(made[1, 0, 10::-1, 10], weights, atol=1e-6)
    np.testing.assert_allclose(made.sum((1, 2, 3)), 1, atol=1e-12)
    # up to the right is where light comes from, so it goes down to the left
    assert made[2, 0, 11, 9] > 0
    assert made[2, 0, :10].sum() == 0
    np.testing.assert_allclose(moved(flat(0.3, 2), np.array([7.0, -80.0]), 9, 2.5), 0.3)


def test_zooming_keeps_shape_and_middle():
    x = np.random.default_rng(0).uniform(0, 1, (2, 3, 25, 40))
    np.testing.assert_allclose(zoomed(x, 1.0), x, atol=1e-12)
    assert zoomed(x, 1.21).shape == x.shape
    np.testing.assert_allclose(zoomed(np.ones((1, 25, 40)), 1.13, 2.25), 2)
    ramp = np.broadcast_to(np.linspace(-1, 1, 33), (1, 33, 33))
    made = zoomed(ramp, 1.5)[0]
    assert abs(made[16, 16]) <= 1 / 32  # half a pixel of the image
    # 22 of its pixels became 33
    np.testing.assert_allclose(np.diff(made, axis=1), 2 / 32 * 21 / 32, atol=1e-12)


@pytest.mark.parametrize("side", [4, 32, 128])
def test_plasma_spans_zero_to_one(side):
    made = plasma(streams(20), side, 2.0)
    assert made.shape == (20, side, side)
    assert np.array_equal(made.min((1, 2)), np.zeros(20))
    assert np.array_equal(made.max((1, 2)), np.ones(20))


def test_clouds_are_rougher_where_small_parts_fade_slowly():
    rough = [
        np.abs(np.diff(plasma(streams(20), 32, decay), axis=2)).mean() for decay in (3, 2, 1.75)
    ]
    assert rough == sorted(rough)


@pytest.mark.parametrize("channels", [1, 3])
def test_snow_fog_and_water_never_darken_black(channels):
    x = torch.zeros(20, channels, 32, 32, dtype=torch.uint8)
    for name in ("snow", "spatter", "brightness"):
        assert int(corrupt(x, name, 2).max()) > 20, name
    assert not corrupt(x, "fog", 5).any()  # fog is no brighter than the image's brightest value
    noise = torch.randint(256, (20, channels, 32, 32), dtype=torch.uint8)
    for severity in SEVERITY:
        assert bool((corrupt(noise, "snow", severity) >= noise).all())
    for severity in (1, 2, 3):
        assert bool((corrupt(noise, "spatter", severity) >= noise).all())


def test_drops_on_a_grey_image_have_the_grey_value_of_their_colour():
    grey = torch.full((30, 1, 32, 32), 100, dtype=torch.uint8)
    for severity, colour in ((2, (175, 238, 238)), (5, (63, 42, 20))):
        made = corrupt(grey, "spatter", severity).double()
        coloured = corrupt(grey.expand(-1, 3, -1, -1), "spatter", severity).double()
        expected = torch.einsum(
            "nchw,c->nhw", coloured, torch.tensor([0.299, 0.587, 0.114]).double()
        )
        assert float((made[:, 0] - expected).abs().max()) <= 1  # rounding down of each channel
        drops = made != 100
        assert 0.01 < float(drops.double().mean()) < 0.5
        if severity == 5:  # mud that is thick enough to be seen
            weight = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
            assert float(made.min()) == pytest.approx(weight, abs=1)


def test_canny_finds_the_border_of_a_square():
    images = np.zeros((3, 20, 20))
    images[0, 5:15, 5:15] = 200
    images[2, 5:15, 5:15] = 25  # its gradients, 100 to 150, pass the lower threshold only
    found = canny.edges(images)
    assert not found[1:].any()
    assert found[0].sum() == pytest.approx(36, abs=8)
    ring = np.zeros((20, 20), dtype=bool)
    ring[4:16, 4:16] = True
    ring[6:14, 6:14] = False
    assert not found[0][~ring].any()
    distance = spatter.distances(found)
    assert np.isinf(distance[1:]).all()
    assert distance[0, 10, 10] == pytest.approx(5, abs=1)
    assert not distance[0][found[0]].any()


def test_levels_are_equalised_image_by_image():
    levels = np.random.default_rng(0).integers(3, 9, (4, 6, 6))
    levels[1] = 5
    made = spatter.equalised(levels)
    assert np.array_equal(made[1], levels[1])
    for image, new in zip(levels, made, strict=True):
        least = image.min()
        rest = (image > least).sum()
        for level in np.unique(image[image > least]):
            expected = round(255 * ((image <= level) & (image > least)).sum() / rest)
            assert (new[image == level] == expected).all()
