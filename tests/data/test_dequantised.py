import copy
import os
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

import lightning_prune
from lightning_prune.data import (
    MNIST,
    CropFlip,
    Dequantised,
    Digits,
    ImageDensity,
    Synthetic,
    dequantise,
)  # fmt: skip
from lightning_prune.data.dequantised import uniform

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def images(count=40, levels=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(levels, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return pixels, torch.arange(count) % 3


def test_the_floor_recovers_every_pixel_whatever_the_levels():
    noises = torch.tensor([0.5, 1.5, 2**15 - 1.5, 2**15 - 0.5]) / 2**15  # the extremes drawn
    for levels in range(2, 257):
        pixels = torch.arange(levels, dtype=torch.uint8)[:, None].expand(levels, len(noises))
        spread = dequantise(pixels, noises.expand(pixels.shape), levels)
        assert float(spread.min()) >= 0
        assert float(spread.max()) < 1
        assert torch.equal((levels * spread).floor().to(torch.uint8), pixels)


def test_it_is_the_papers_form_for_bytes():
    pixels, noise = torch.tensor([0, 7, 255], dtype=torch.uint8), torch.tensor([0.0, 0.25, 0.75])
    image = pixels.float() / 255  # as torchvision gives it
    torch.testing.assert_close(dequantise(pixels, noise), (255 * image + noise) / 256)


def test_noise_is_uniform_and_one_number_differs_from_the_next():
    noise = uniform(torch.arange(500), epoch=0, seed=0, size=200).double()
    assert float(noise.min()) > 0
    assert float(noise.max()) < 1
    n = noise.numel()
    assert float(noise.mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / n) ** 0.5)
    assert float(noise.var()) == pytest.approx(1 / 12, abs=2e-3)
    shares = (noise * 10).long().flatten().bincount() / n
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=5e-3, rtol=0)
    # neither neighbours in a row nor neighbouring rows, epochs or seeds go together
    for other in (
        noise.roll(1, 1), noise.roll(1, 0), uniform(torch.arange(500), 1, 0, 200),
        uniform(torch.arange(500), 0, 1, 200),
    ):  # fmt: skip
        pair = torch.stack([noise.flatten(), other.double().flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 4 / n**0.5


def test_noise_depends_on_seed_epoch_and_row_only():
    pixels, labels = images()
    data = Dequantised(pixels, labels, seed=3)
    state = torch.get_rng_state()
    one, label = data[7]
    assert torch.equal(torch.get_rng_state(), state)
    assert (one.shape, one.dtype, int(label)) == ((1, 6, 6), torch.float32, 1)
    batch = data.__getitems__([2, 7, 5])[0]
    assert torch.equal(batch[1], one)
    part = Dequantised(pixels, labels, torch.tensor([1, 7]), seed=3)
    assert torch.equal(part[1][0], one)
    data.set_epoch(1)
    assert not torch.equal(data[7][0], one)
    data.set_epoch(0)
    assert torch.equal(copy.deepcopy(data)[7][0], one)
    assert not torch.equal(Dequantised(pixels, labels, seed=4)[7][0], one)
    fixed = [Dequantised(pixels, labels, seed=seed, fixed=True) for seed in (3, 4)]
    fixed[1].set_epoch(5)
    assert torch.equal(fixed[0][7][0], fixed[1][7][0])


def test_padding_gets_noise_and_augmentation_comes_first():
    pixels, labels = images()
    data = Dequantised(pixels, labels, pad=2, augment=CropFlip(pad=0, flip=True))
    batch = data.__getitems__(list(range(40)))[0]
    assert batch.shape == (40, 1, 10, 10)
    restored = (256 * batch).floor().to(torch.uint8)
    inside = restored[:, :, 2:-2, 2:-2]
    flipped = [torch.equal(inside[row], pixels[row].flip(2)) for row in range(40)]
    assert all(flip or torch.equal(inside[row], pixels[row]) for row, flip in enumerate(flipped))
    assert 5 < sum(flipped) < 35
    assert int(restored.sum()) == int(inside.sum())
    border = batch[:, :, :2]
    assert float(border.min()) > 0
    assert len(border.unique()) > 100


def test_the_digits_become_points_in_the_unit_cube():
    data = ready(ImageDensity(Digits(validation=0.1), levels=17, batch_size=50))
    assert (data.shape, data.dims, data.classes, data.levels) == ((1, 8, 8), 64, 10, 17)
    assert (data.floor, data.mixture) == (None, None)
    plain = ready(Digits(validation=0.1))
    for part in ("train", "val", "test"):
        mine, raw = data.sets[part], plain.sets[part]
        assert torch.equal(mine.rows, raw.rows)
        points, labels = mine.__getitems__(range(len(mine)))
        assert torch.equal((17 * points).floor().to(torch.uint8), raw.images[raw.rows])
        assert torch.equal(labels, raw.labels[raw.rows])
    inputs, targets = next(iter(data.train_dataloader()))
    assert (inputs.shape, inputs.dtype) == ((50, 1, 8, 8), torch.float32)
    assert (targets.shape, targets.dtype) == ((50,), torch.int64)
    assert 0 <= float(inputs.min()) < float(inputs.max()) < 1


def test_training_noise_is_new_each_epoch_and_the_test_is_the_same_for_all_seeds():
    first, second = (ready(ImageDensity(Digits(), 17, seed=seed)) for seed in (0, 1))
    loader = first.train_dataloader()
    batches = [next(iter(loader))[0]]
    loader.sampler.set_epoch(1)
    batches.append(next(iter(loader))[0])
    assert not torch.equal(*batches)
    for which in ("val", "test"):
        once, twice = (list(data.loader(which)) for data in (first, second))
        again = list(first.loader(which))
        for batch, other, repeat in zip(once, twice, again, strict=True):
            assert torch.equal(batch[0], other[0])
            assert torch.equal(batch[0], repeat[0])


def test_an_epoch_continues_in_the_middle_with_the_same_noise():
    straight, again = (
        ready(ImageDensity(Digits(), 17, batch_size=400, workers=workers)).train_dataloader()
        for workers in (0, 1)
    )
    straight.sampler.set_epoch(1)
    batches = iter(straight)
    next(batches)
    again.load_state_dict(straight.state_dict())
    rest = list(batches)
    assert rest
    for batch, other in zip(rest, list(again), strict=True):
        assert torch.equal(batch[0], other[0])


def test_mnist_is_read_as_bytes_and_padded():
    data = ready(ImageDensity(MNIST(ROOT, subset="small"), pad=2))
    assert (data.shape, data.dims) == ((1, 32, 32), 1024)
    assert next(iter(data.test_dataloader()))[0].shape == (128, 1, 32, 32)


@pytest.mark.parametrize("option", ["digits", "mnist", "fashion_mnist"])
def test_the_yaml_makes_it(option):
    small = [] if option == "digits" else [f"data.source.root={ROOT}", "data.source.subset=small"]
    cfg = lightning_prune.compose("train", f"data={option}_density", *small)
    data = ready(instantiate(cfg.data))
    assert isinstance(data, ImageDensity)
    assert data.dims == cfg.dataset.inputs
    assert data.shape == (cfg.dataset.channels, cfg.dataset.size, cfg.dataset.size)
    assert data.levels == cfg.dataset.levels
    assert len(data.sets["val"])


def test_what_is_wrong_is_said():
    with pytest.raises(TypeError, match=r"such as Digits\(\) as its source, got str"):
        ImageDensity("digits")
    with pytest.raises(ValueError, match="levels from 2 to 256 and pad >= 0, got 1 and 0"):
        ImageDensity(Digits(), levels=1)
    with pytest.raises(ValueError, match=r"pixels up to 16; set levels to 17 or more, got 16"):
        ImageDensity(Digits(), levels=16).setup()
    with pytest.raises(ValueError, match="Synthetic has no images of whole-numbered pixels"):
        ImageDensity(Synthetic()).setup()
    pixels, labels = images()
    with pytest.raises(ValueError, match=r"of dtype uint8, not torch\.float32"):
        Dequantised(pixels.float(), labels)
    with pytest.raises(ValueError, match="levels from 2 to 256"):
        Dequantised(pixels, labels, levels=300)
    with pytest.raises(ValueError, match="n labels"):
        Dequantised(pixels, labels[:5])
