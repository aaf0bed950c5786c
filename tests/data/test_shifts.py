import numpy as np
import pytest
import torch
from PIL import Image

from lightning_prune.data import (
    Corruptions,
    CropFlip,
    Digits,
    FashionMNIST,
    ImageDensity,
    ImageFolder,
    MixedCorruptions,
    Planar,
    Synthetic,
    TensorImages,
    corrupt,
    corruption_names,
    nominal,
    shifts,
)


@pytest.fixture
def digits():
    return Digits()


@pytest.fixture(autouse=True)
def _nothing_remembered():
    shifts._made.clear()


def content(dataset):
    return dataset.__getitems__(range(len(dataset)))


def test_the_nominal_test_set_is_that_of_the_loader(digits):
    found = nominal(digits)
    assert (found.name, found.severity, found.side) == ("nominal", 0, "train")
    images, labels = content(found.dataset)
    batches = list(digits.test_dataloader())
    assert torch.equal(images, torch.cat([batch for batch, _ in batches]))
    assert torch.equal(labels, torch.cat([batch for _, batch in batches]))
    first = content(nominal(digits, 50).dataset)
    assert torch.equal(first[0], images[:50])
    assert torch.equal(first[1], labels[:50])


def test_all_corruptions_that_the_images_admit(digits):
    found = list(Corruptions(severities=(1, 4)).distributions(digits, 30))
    assert [(each.name, each.severity) for each in found] == [
        (name, severity) for name in corruption_names(1) for severity in (1, 4)
    ]
    assert {each.side for each in found} == {"test"}
    raw = digits.sets["test"]
    for each in found:
        made = corrupt(raw.images[:30], each.name, each.severity, peak=16)
        expected = TensorImages(made, raw.labels[:30], None, digits.mean, digits.std)
        assert torch.equal(content(each.dataset)[0], content(expected)[0])
        assert torch.equal(each.dataset.labels, raw.labels[:30])


def test_the_first_images_are_those_of_the_whole_set(digits):
    shift = Corruptions(["snow"], seed=3)
    (whole,), (part,) = (list(shift.distributions(digits, count)) for count in (None, 20))
    assert len(whole.dataset) == 359
    assert torch.equal(whole.dataset.images[:20], part.dataset.images)
    (other,) = Corruptions(["snow"], seed=4).distributions(digits, 20)
    assert not torch.equal(part.dataset.images, other.dataset.images)
    digits.seed = 7  # the run's seed plays no part
    (again,) = shift.distributions(digits, 20)
    assert torch.equal(again.dataset.images, part.dataset.images)


def test_sides_are_what_training_knew():
    names = ("fog", "snow")
    for augment, sides in (
        (None, ["test", "test"]),
        (CropFlip(1), ["test", "test"]),
        (MixedCorruptions(names=["snow", "contrast"]), ["test", "train"]),
        (MixedCorruptions(severities=[0]), ["test", "test"]),
    ):
        data = Digits(augment=augment)
        found = list(Corruptions(names).distributions(data, 5))
        assert [each.side for each in found] == sides


def test_distributions_are_made_one_at_a_time(digits, monkeypatch):
    made = []
    monkeypatch.setattr(
        shifts, "corrupt", lambda images, name, *_, **__: made.append(name) or images
    )
    each = Corruptions(["fog", "snow"]).distributions(digits, 5)
    assert made == []
    next(each)
    assert made == ["fog"]
    assert [found.name for found in each] == ["snow"]


def test_what_was_made_is_remembered_up_to_a_size(digits, monkeypatch):
    count = 0

    def counted(*arguments, **options):
        nonlocal count
        count += 1
        return corrupt(*arguments, **options)

    monkeypatch.setattr(shifts, "corrupt", counted)
    shift = Corruptions(["fog", "snow", "contrast"])
    first = [content(each.dataset)[0] for each in shift.distributions(digits, 10)]
    again = [content(each.dataset)[0] for each in shift.distributions(Digits(seed=5), 10)]
    assert count == 3
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    list(shift.distributions(digits, 11))
    assert count == 6
    list(Corruptions(["fog"], seed=1).distributions(digits, 10))
    list(Corruptions(["fog"], severities=[2]).distributions(digits, 10))
    assert count == 8
    # room for two of three: the oldest goes first
    shifts._made.clear()
    monkeypatch.setattr(shifts, "REMEMBERED", 2 * 10 * 64 * 4)
    list(shift.distributions(digits, 10))
    assert [key[2] for key in shifts._made] == ["snow", "contrast"]
    count = 0
    list(Corruptions(["contrast", "snow", "fog"]).distributions(digits, 10))
    assert count == 1
    assert [key[2] for key in shifts._made] == ["snow", "fog"]


def test_bytes_stay_bytes(data_root):
    data = FashionMNIST(data_root, subset="small")
    (found,) = Corruptions(["fog"]).distributions(data, 12)
    assert found.dataset.images.dtype == torch.uint8
    assert torch.equal(found.dataset.images, corrupt(data.read(False)[0][:12], "fog", 3))
    images, _ = content(found.dataset)
    expected = (found.dataset.images.double() - data.mean) / data.std
    torch.testing.assert_close(images.double(), expected, atol=1e-5, rtol=0)


def test_images_in_folders_are_read(tmp_path):
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(10):
            pixels = draw.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    data = ImageFolder(tmp_path, size=16)
    found = nominal(data)
    images, labels = content(found.dataset)
    batch, expected = next(iter(data.test_dataloader()))
    torch.testing.assert_close(images, batch)
    assert torch.equal(labels, expected)
    (blurred,) = Corruptions(["gaussian_blur"]).distributions(data, 3)
    made = corrupt(data.sets["test"].read(range(3)), "gaussian_blur", 3)
    assert torch.equal(blurred.dataset.images, made)
    assert blurred.dataset.labels.tolist() == labels[:3].tolist()


def test_data_without_raw_images_are_refused(digits):
    density = ImageDensity(Digits(), levels=17)
    for data in (Planar("moons"), density):
        with pytest.raises(ValueError, match=r"no labelled test images, so there is nothing"):
            nominal(data)
        with pytest.raises(ValueError, match=r"no labelled test images, so there is nothing"):
            Corruptions().distributions(data)
    # noise is no picture: it has no black and no white
    with pytest.raises(ValueError, match="from 0 to 255, got -"):
        next(Corruptions(["fog"]).distributions(Synthetic()))
    with pytest.raises(ValueError, match="at least 1; got 0"):
        nominal(digits, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["frost"]}, "photographs of ice"),
        ({"names": []}, "at least one"),
        ({"severities": [0]}, r"from 1 to 5, got \(0,\)"),
        ({"severities": []}, r"from 1 to 5, got \(\)"),
        ({"severities": [3, 3]}, r"each once, from 1 to 5, got \(3, 3\)"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Corruptions(**change)


def test_impossible_corruptions_are_refused_before_any_is_made(digits):
    with pytest.raises(ValueError, match="images are grey"):
        Corruptions(["fog", "saturate"]).distributions(digits)
