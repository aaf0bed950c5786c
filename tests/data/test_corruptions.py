"""What every corruption keeps to, whatever it does."""

import sys

import numpy as np
import pytest
import torch

from lightning_prune.data import CIFAR10, Digits, FashionMNIST, corrupt, corruption_names
from lightning_prune.data.corruptions import SEVERITIES

FIXED = {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
    "gaussian_blur", "saturate",
}  # fmt: skip
NAMES = corruption_names()


def scene(count, channels, height, width, seed=0):
    """Smooth images with an edge, from black to white, in bytes."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / min(height, width)
    waves = draw.uniform(1, 6, (4, count, channels, 1, 1))
    image = np.sin(waves[0] * x + waves[1]) * np.cos(waves[2] * y + waves[3])
    image[:, :, :, width // 2 :] *= 0.3
    return torch.from_numpy((127.5 * (1 + image)).astype(np.uint8))


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (32, 32), (64, 64), (20, 37), (4, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_one_or_three_channels(shape, channels):
    images = scene(3, channels, *shape)
    for name in corruption_names(channels):
        for severity in (1, 3, 5):
            made = corrupt(images, name, severity)
            assert (made.shape, made.dtype) == (images.shape, torch.uint8), name
            assert made.is_contiguous()
            if min(shape) >= 8 and severity > 1:
                assert not torch.equal(made, images), name


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_its_batch(name):
    images = scene(6, 3, 32, 32)
    rows = torch.tensor([5, 3, 900, 2**40, 0, 1])
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    for severity in (2, 5):
        whole = corrupt(images, name, severity, rows=rows, seed=4, epoch=2)
        order = torch.tensor([4, 0, 3])
        part = corrupt(images[order], name, severity, rows=rows[order], seed=4, epoch=2)
        assert torch.equal(part, whole[order])
        for place in range(len(images)):
            alone = slice(place, place + 1)
            single = corrupt(images[alone], name, severity, rows=rows[alone], seed=4, epoch=2)
            assert torch.equal(single[0], whole[place])
    assert torch.equal(state[0], torch.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])


def test_long_batches_are_made_in_parts(monkeypatch):
    images = scene(7, 1, 32, 32)
    whole = corrupt(images, "snow", 3)
    # the package shows the function of this name, not its module
    module = sys.modules["lightning_prune.data.corruptions.corrupt"]
    monkeypatch.setattr(module, "AT_ONCE", 2 * 32 * 32)
    assert torch.equal(corrupt(images, "snow", 3), whole)
    assert torch.equal(corrupt(images, "snow", 3, rows=torch.arange(7)), whole)


@pytest.mark.parametrize("name", NAMES)
def test_randomness_follows_seed_epoch_and_row(name):
    images = scene(1, 3, 32, 32).expand(4, 3, 32, 32)
    first = corrupt(images, name, 4)
    assert torch.equal(first, corrupt(images, name, 4))
    others = [
        corrupt(images, name, 4, seed=1),
        corrupt(images, name, 4, epoch=1),
        corrupt(images, name, 4, rows=torch.arange(4, 8)),
    ]
    if name in FIXED:
        assert all(torch.equal(first, other) for other in others)
        assert torch.equal(first[:1].expand_as(first), first)
    else:
        assert not any(torch.equal(first[0], other[0]) for other in others)
        assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("name", NAMES)
def test_floats_on_another_scale_are_corrupted_alike(name):
    images = scene(2, 3, 32, 32)
    made = corrupt(images, name, 3)
    scaled = corrupt(images.float() * (16 / 255), name, 3, peak=16)
    assert scaled.dtype == torch.float32
    assert float(scaled.min()) >= 0
    assert float(scaled.max()) <= 16
    off = (scaled * (255 / 16) - made).abs()
    # values that float32 puts on the other side of a level
    assert float(off.max()) < 1.01
    assert float((off > 0.01).float().mean()) < 0.01


def test_digits_stay_on_their_scale():
    digits = Digits()
    digits.setup("test")
    images = digits.sets["test"].images[:40]
    for name in corruption_names(1):
        made = corrupt(images, name, 5, peak=Digits.peak)
        assert made.dtype == torch.float32
        assert 0 <= float(made.min()) <= float(made.max()) <= 16
        assert not torch.equal(made, images.float())
        # 256 levels
        torch.testing.assert_close(made * (255 / 16), (made * (255 / 16)).round())


@pytest.mark.parametrize("subset", ["fashion_mnist", "cifar10"])
def test_stronger_is_farther_from_the_image(subset, data_root):
    data = (FashionMNIST if subset == "fashion_mnist" else CIFAR10)(data_root, subset="small")
    images = data.read(train=False)[0][:80]
    errors = {
        name: [
            float((corrupt(images, name, severity).float() - images).square().mean())
            for severity in range(6)
        ]
        for name in corruption_names(images.shape[1])
    }
    for name, error in errors.items():
        assert error[0] == 0
        assert min(error[1:]) > 1
        if name not in ("glass_blur", "elastic_transform", "saturate", "spatter"):
            assert error == sorted(error), name
    error = errors["spatter"]  # water up to severity 3, then mud
    assert error[1] < error[2] < error[3]
    assert error[4] < error[5]
    # more blur before the pixels are moved leaves less to move; two rounds are more than one
    assert max(errors["glass_blur"][1:4]) < min(errors["glass_blur"][4:])
    if "saturate" in errors:  # down to grey at severities 1 and 2, up to garish from 3 on
        error = errors["saturate"]
        assert error[1] < error[2]
        assert error[3] < error[4] < error[5]


def test_severity_zero_changes_nothing():
    images = scene(2, 3, 8, 8)
    assert torch.equal(corrupt(images, "fog", 0), images)
    assert corrupt(images // 16, "fog", 0, peak=16).dtype == torch.float32
    assert corrupt(images[:0], "fog", 3).shape == (0, 3, 8, 8)
    assert set(SEVERITIES) == set(NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"severity": 6}, "from 0 to 5, got 6"),
        ({"severity": 1.5}, r"from 0 to 5, got 1\.5"),
        ({"name": "frost"}, "photographs of ice"),
        ({"images": torch.zeros(2, 4, 8, 8)}, "1 or 3 channels, got 4"),
        ({"images": torch.zeros(2, 1, 8, 8), "name": "saturate"}, "images are grey"),
        ({"images": torch.zeros(3, 8, 8)}, r"got \(3, 8, 8\)"),
        ({"images": torch.zeros(1, 3, 3, 8)}, "sides of 4 pixels or more"),
        ({"images": torch.full((1, 3, 8, 8), -0.1)}, "from 0 to 255, got -0.1"),
        ({"peak": 16}, "from 0 to 16, got .* to 2"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(change, message):
    arguments = {"images": scene(2, 3, 8, 8), "name": "fog", "severity": 3} | change
    with pytest.raises(ValueError, match=message):
        corrupt(
            arguments.pop("images"), arguments.pop("name"), arguments.pop("severity"), **arguments
        )
