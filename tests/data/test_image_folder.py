import numpy as np
import pytest
import torch
from PIL import Image

from lightning_prune.data import CropFlip, ImageFolder, Split

COLOURS = {"amber": (200, 100, 0), "blue": (0, 0, 200), "coral": (240, 120, 80)}


def paint(folder, name, count, size=(9, 7)):
    (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels = np.full((size[1], size[0], 3), COLOURS[name], dtype=np.uint8)
        pixels[0, 0] = number  # so that no two are the same
        Image.fromarray(pixels).save(folder / name / f"{number:02}.png")


@pytest.fixture
def one(tmp_path):
    for name in ("coral", "amber", "blue"):
        paint(tmp_path, name, 10)
    return tmp_path


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def test_one_folder_is_split_by_class(one):
    data = ready(ImageFolder(one, size=4, classes=3, split=Split(0.2, 0.25), batch_size=5))
    assert data.names == ["amber", "blue", "coral"]
    assert {part: rows.labels.bincount().tolist() for part, rows in data.sets.items()} == {
        "train": [6] * 3, "val": [2] * 3, "test": [2] * 3,
    }  # fmt: skip
    files = [file for part in data.sets.values() for file in part.files]
    assert len(set(files)) == len(files) == 30
    other = ready(ImageFolder(one, size=4, split=Split(0.2, 0.25), seed=7))
    assert other.sets["test"].files == data.sets["test"].files  # the seed is for the order
    images, labels = next(iter(data.test_dataloader()))
    assert (images.shape, images.dtype, labels.dtype) == ((5, 3, 4, 4), torch.float32, torch.int64)


def test_pixels_are_resized_and_normalised(one):
    data = ready(ImageFolder(one, size=8, split=Split(0, 0)))
    images, labels = next(iter(data.train_dataloader()))
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    mean, std = data.sets["train"].mean.flatten(), data.sets["train"].std.flatten()
    # the corner far from the pixel that differs
    for image, label in zip(images[:, :, -1, -1], labels, strict=True):
        colour = torch.tensor(list(COLOURS.values())[label], dtype=torch.float32)
        torch.testing.assert_close(image * std + mean, colour, atol=1e-2, rtol=0)
    grey = ready(ImageFolder(one, size=8, channels=1, split=Split(0, 0)))
    assert next(iter(grey.train_dataloader()))[0].shape == (30, 1, 8, 8)


@pytest.mark.parametrize("val", [False, True])
def test_folders_for_the_parts(tmp_path, val):
    for part in ("train", "test", *(["val"] if val else [])):
        for name in ("amber", "blue"):
            paint(tmp_path / part, name, 4)
    data = ready(ImageFolder(tmp_path, size=4, split=Split(validation=0.25)))
    assert [len(data.sets[part]) for part in ("train", "val", "test")] == (
        [8, 8, 8] if val else [6, 2, 8]
    )
    assert all(file.is_relative_to(tmp_path / "test") for file in data.sets["test"].files)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_continues_in_the_middle(one, workers):
    def made(seed=3):
        options = {"augment": CropFlip(1, True), "seed": seed, "workers": workers}
        return ready(ImageFolder(one, size=6, batch_size=4, **options)).train_dataloader()

    straight, again = made(), made()
    straight.sampler.set_epoch(2)
    batches = iter(straight)
    seen = [next(batches) for _ in range(2)]
    again.load_state_dict(straight.state_dict())
    rest = list(batches)
    for one_batch, other in zip(rest, list(again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one_batch, other, strict=True))
    other = made(seed=4)
    other.sampler.set_epoch(2)
    assert not torch.equal(next(iter(other))[0], seen[0][0])


def test_what_is_wrong_is_named(one, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match=r"There is no image folder .*nowhere; pass path="):
        ImageFolder(one / "nowhere").prepare_data()
    with pytest.raises(ValueError, match=r"has 3 classes and 10 were announced; set classes=3"):
        ImageFolder(one, classes=10).setup()
    (one / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no images; add some or remove"):
        ImageFolder(one).setup()
    parts = tmp_path_factory.mktemp("parts")
    with pytest.raises(ValueError, match="has no folders, one for each class"):
        ImageFolder(parts).setup()
    paint(parts / "train", "amber", 2)
    with pytest.raises(FileNotFoundError, match="has a folder train and none named test"):
        ImageFolder(parts).setup()
    paint(parts / "test", "blue", 2)
    with pytest.raises(ValueError, match=r"test has the classes blue and .*train has amber"):
        ImageFolder(parts).setup()
    with pytest.raises(ValueError, match="1 or 3 channels"):
        ImageFolder(one, channels=2)


def test_an_image_that_cannot_be_read_is_named(one):
    file = one / "amber" / "03.png"
    whole = file.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"03\.png cannot be read as an image"):
            ready(ImageFolder(one, size=4, split=Split(0, 0)))
