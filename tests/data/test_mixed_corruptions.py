import copy
import pickle

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightning_prune.data import (
    CropFlip,
    Digits,
    FashionMNIST,
    MixedCorruptions,
    ResumableLoader,
    TensorImages,
    corrupt,
)
from lightning_prune.data.mixed import MIX1, MIX2

# Python 3.12 and later warn of what torch's worker processes do
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


@pytest.fixture
def images():
    return torch.randint(
        256, (48, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def epoch_of(images, batch_size, epoch=0, seed=0, **options):
    """The samples of an epoch, in the order of the data set."""
    augment = MixedCorruptions(pad=2, flip=True)
    data = TensorImages(images, torch.arange(len(images)), augment=augment, seed=seed)
    loader = ResumableLoader(data, batch_size, shuffle=True, **options)
    loader.sampler.set_epoch(epoch)
    parts = list(loader)
    order = torch.cat([labels for _, labels in parts]).argsort()
    return torch.cat([batch for batch, _ in parts])[order]


def test_the_two_mixes_are_the_nineteen():
    assert (len(MIX1), len(MIX2)) == (9, 10)
    assert not set(MIX1) & set(MIX2)
    assert set(MIX1) | set(MIX2) == {
        "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur",
        "motion_blur", "zoom_blur", "snow", "frost", "fog", "brightness", "contrast",
        "elastic_transform", "pixelate", "jpeg_compression", "speckle_noise", "gaussian_blur",
        "spatter", "saturate",
    }  # fmt: skip
    assert MixedCorruptions().names == MIX1


def test_every_corruption_and_every_severity_is_as_likely():
    rows, count = torch.arange(20_000), 20_000
    name, severity = MixedCorruptions().choices(rows, epoch=3, seed=1)
    for drawn, kinds in ((name, 9), (severity, 6), (name * 6 + severity, 54)):
        shares = drawn.bincount(minlength=kinds).double() / count
        assert len(shares) == kinds
        # three standard errors of one share; of 54 the largest may well be beyond
        bound = (3 if kinds < 54 else 4) * (1 / kinds * (1 - 1 / kinds) / count) ** 0.5
        assert float((shares - 1 / kinds).abs().max()) < bound
    again, _ = MixedCorruptions().choices(rows, epoch=4, seed=1)
    assert abs(float((again == name).double().mean()) - 1 / 9) < 3 * (8 / 81 / count) ** 0.5


def test_one_image_in_six_is_clean(images):
    augment = MixedCorruptions()
    rows = torch.arange(len(images))
    made = augment(images, rows, epoch=0, seed=0)
    _, severity = augment.choices(rows, epoch=0, seed=0)
    same = (made == images).flatten(1).all(1)
    assert torch.equal(same, severity == 0)
    assert 0 < int(same.sum()) < len(images)


def test_each_image_is_corrupted_then_cropped_and_flipped(images):
    augment = MixedCorruptions(pad=3, flip=True)
    rows = torch.arange(len(images)) + 100
    name, severity = augment.choices(rows, epoch=2, seed=5)
    expected = torch.cat([
        corrupt(images[i : i + 1], augment.names[name[i]], augment.severities[severity[i]],
                rows=rows[i : i + 1], seed=5, epoch=2)
        for i in range(len(images))
    ])  # fmt: skip
    before = images.clone()
    made = augment(images, rows, epoch=2, seed=5)
    assert torch.equal(images, before)
    assert made.dtype == torch.uint8
    assert torch.equal(made, CropFlip(3, True)(expected, rows, epoch=2, seed=5))


def test_samples_do_not_depend_on_batch_worker_or_past(images):
    first = epoch_of(images, 48, epoch=1)
    torch.manual_seed(99)
    assert torch.equal(first, epoch_of(images, 48, epoch=1))
    assert torch.equal(first, epoch_of(images, 7, epoch=1))
    assert torch.equal(first, epoch_of(images, 7, epoch=1, num_workers=2))
    assert not torch.equal(first, epoch_of(images, 48, epoch=2))
    assert not torch.equal(first, epoch_of(images, 48, epoch=1, seed=1))


def test_equal_images_are_corrupted_differently(images):
    same = images[:1].expand(48, 3, 16, 16)
    made = epoch_of(same, 12, num_workers=2)
    assert len(made.flatten(1).unique(dim=0)) > 36  # all but clean ones, which crops tell apart


def test_a_resumed_loader_goes_on_with_the_same_samples(images):
    def loader():
        data = TensorImages(images, torch.arange(48), augment=MixedCorruptions())
        return ResumableLoader(data, 8, shuffle=True)

    whole = loader()
    batches = []
    for number, batch in enumerate(whole):
        batches.append(batch)
        if number == 1:
            state = whole.state_dict()
    resumed = loader()
    resumed.load_state_dict(state)
    rest = list(resumed)
    assert len(rest) == 4
    for (images_, labels), (others, numbers) in zip(batches[2:], rest, strict=True):
        assert torch.equal(images_, others)
        assert torch.equal(labels, numbers)


def test_digits_train_on_their_own_scale():
    data = Digits(batch_size=64, augment=MixedCorruptions(pad=1))
    data.setup("fit")
    assert data.sets["train"].augment.peak == 16
    assert data.augment.peak == 255
    batch, labels = next(iter(data.train_dataloader()))
    assert (batch.dtype, batch.shape, labels.shape) == (torch.float32, (64, 1, 8, 8), (64,))
    raw = batch * data.std.float().view(-1, 1, 1) + data.mean.float().view(-1, 1, 1)
    assert float(raw.min()) > -1e-4
    assert 12 < float(raw.max()) < 16 + 1e-4
    clean = next(iter(data.val_dataloader()))[0]
    raw = clean * data.std.float().view(-1, 1, 1) + data.mean.float().view(-1, 1, 1)
    torch.testing.assert_close(raw, raw.round(), atol=1e-4, rtol=0)


def test_images_of_bytes_stay_bytes(data_root):
    data = FashionMNIST(data_root, subset="small", augment=MixedCorruptions(pad=2, flip=True))
    data.setup("fit")
    train = data.sets["train"]
    made = train.augment(train.images[:30], torch.arange(30), epoch=0, seed=0)
    assert (made.dtype, made.shape) == (torch.uint8, (30, 1, 28, 28))
    batch, _ = next(iter(data.train_dataloader()))
    assert (batch.dtype, batch.shape[1:]) == (torch.float32, (1, 28, 28))


def test_it_comes_from_a_config_and_copies(images):
    cfg = OmegaConf.create({
        "_target_": "lightning_prune.data.MixedCorruptions",
        "pad": 1, "flip": True, "names": ["fog", "saturate"], "severities": [0, 3],
    })  # fmt: skip
    augment = instantiate(cfg)
    assert augment == MixedCorruptions(1, True, ("fog", "saturate"), (0, 3))
    assert pickle.loads(pickle.dumps(augment)) == copy.deepcopy(augment) == augment
    assert hash(augment) == hash(copy.deepcopy(augment))
    with pytest.raises(ValueError, match="images are grey"):
        augment(images[:, :1], torch.arange(48), epoch=0, seed=0)


def test_the_yaml_keeps_crop_and_flip_of_the_data(checkout):
    data = OmegaConf.load(checkout / "conf" / "data" / "cifar10.yaml")
    robust = OmegaConf.load(checkout / "conf" / "augment" / "robust.yaml")
    augment = instantiate(OmegaConf.merge(data, robust).data.augment)
    assert augment == MixedCorruptions(4, True, MIX1, (0, 1, 2, 3, 4, 5))
    assert OmegaConf.load(checkout / "conf" / "augment" / "plain.yaml") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": MIX2}, "frost is made of photographs"),
        ({"names": ["rain"]}, "no corruption 'rain'"),
        ({"names": []}, "at least one"),
        ({"severities": [6]}, r"from 0 to 5, got \(6,\)"),
        ({"severities": []}, r"from 0 to 5, got \(\)"),
        ({"pad": -1}, "pad >= 0"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MixedCorruptions(**change)
