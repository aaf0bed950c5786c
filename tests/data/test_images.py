import copy

import pytest
import torch

from lightning_prune.data import CropFlip, ResumableLoader, TensorImages
from lightning_prune.data.images import channel_statistics
from lightning_prune.data.split import stratified_split

# Python 3.12 and later warn of what torch's worker processes do
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


@pytest.fixture
def images():
    return torch.randint(
        1, 256, (40, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def augmented(images, **options):
    return TensorImages(
        images, torch.arange(len(images)), augment=CropFlip(pad=2, flip=True), **options
    )


def epoch_of(dataset, batch_size, epoch, **options):
    loader = ResumableLoader(dataset, batch_size, shuffle=True, **options)
    loader.sampler.set_epoch(epoch)
    parts = list(loader)
    order = torch.cat([labels for _, labels in parts]).argsort()
    return torch.cat([images for images, _ in parts])[order]


def test_augmentation_depends_on_seed_epoch_and_sample_only(images):
    first = epoch_of(augmented(images), 40, 1)
    torch.manual_seed(99)
    assert torch.equal(first, epoch_of(augmented(images), 7, 1))
    assert torch.equal(first, epoch_of(augmented(images), 40, 1, num_workers=2))
    rows = torch.arange(0, 40, 2)
    assert torch.equal(first[::2], epoch_of(augmented(images, rows=rows), 5, 1))
    assert not torch.equal(first, epoch_of(augmented(images), 40, 2))
    assert not torch.equal(first, epoch_of(augmented(images, seed=1), 40, 1))


@pytest.mark.parametrize("copied", [lambda data: data, copy.deepcopy])
def test_persistent_workers_follow_the_epoch(images, copied):
    data = copied(augmented(images))
    loader = ResumableLoader(data, 40, num_workers=1, persistent_workers=True)
    for epoch in (0, 1, 5):
        loader.sampler.set_epoch(epoch)
        seen = torch.cat([batch for batch, _ in loader])
        assert torch.equal(seen, epoch_of(augmented(images), 40, epoch))


def test_every_augmented_image_is_a_window_of_the_padded_one(images):
    seen = epoch_of(augmented(images), 40, 0).to(torch.uint8)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    kinds = set()
    for image, source in zip(seen, padded, strict=True):
        kinds |= {
            (top, left, mirrored)
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
            if torch.equal(
                image.flip(-1) if mirrored else image, source[:, top : top + 6, left : left + 5]
            )
        }
    # 40 draws out of 50: every offset and both directions occur
    assert [{kind[part] for kind in kinds} for part in (0, 1, 2)] == [
        set(range(5)),
        set(range(5)),
        {False, True},
    ]
    assert len(kinds) > 20


def test_draws_are_uniform(images):
    from lightning_prune.data.augmentation import draws

    counts = torch.stack(
        [draws(torch.arange(1000), epoch, 0, 0, 5).bincount() for epoch in range(20)]
    )
    assert (counts.sum(0) - 4000).abs().max() < 5 * (
        20_000 * 0.16
    ) ** 0.5  # five standard deviations
    flat = draws(torch.arange(20_000), 0, 7, 2, 2).float()
    assert abs(flat.mean() - 0.5) < 5 * 0.5 / 20_000**0.5


def test_without_augmentation_raw_values_are_normalised(images):
    mean, std = channel_statistics(images)
    data = TensorImages(images, torch.zeros(40), mean=mean, std=std)
    batch, labels = data.__getitems__(range(40))
    assert batch.dtype == torch.float32
    assert labels.dtype == torch.int64
    # float32 rounding of values up to 255 / 74
    torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert torch.equal(data[3][0], batch[3])


def test_statistics_agree_for_bytes_and_floats(images):
    rows = torch.arange(10)
    for exact, rounded in zip(
        channel_statistics(images, rows), channel_statistics(images.float(), rows), strict=True
    ):
        torch.testing.assert_close(exact, rounded)
    assert channel_statistics(torch.full((2, 1, 2, 2), 7, dtype=torch.uint8))[1] == 1


def test_split_is_stratified_and_repeatable():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 5)
    state = torch.get_rng_state()
    stay, off = stratified_split(labels, 0.2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert labels[off].bincount().tolist() == [10, 2, 1]
    assert torch.cat([stay, off]).sort()[0].tolist() == list(range(65))
    assert torch.equal(off, stratified_split(labels, 0.2, seed=1)[1])
    assert not torch.equal(off, stratified_split(labels, 0.2, seed=2)[1])
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        stratified_split(labels, 1.0, seed=0)
    with pytest.raises(ValueError, match="leaves none"):
        stratified_split(labels[:1], 0.9, seed=0)


def test_bad_arguments_are_refused(images):
    with pytest.raises(ValueError, match="n labels"):
        TensorImages(images, torch.zeros(3))
    with pytest.raises(ValueError, match="positive standard deviations"):
        TensorImages(images, torch.zeros(40), std=torch.zeros(3))
    with pytest.raises(ValueError, match="pad >= 0"):
        CropFlip(pad=-1)
