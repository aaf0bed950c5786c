import ast
import gzip
import os
import shutil
from pathlib import Path

import pytest
import torch

import lightning_prune.data
from lightning_prune.data import MNIST, Digits, FashionMNIST, Synthetic

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))
FILES = [
    f"{part}-{what}"
    for part in ("train", "t10k")
    for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
]


def ready(data):
    data.prepare_data()
    data.setup()
    return data


MODULES = {
    "digits": lambda **options: Digits(**options),
    "fashion": lambda **options: FashionMNIST(ROOT, subset="small", **options),
    "mnist": lambda **options: MNIST(ROOT, subset="small", **options),
    "synthetic": lambda **options: Synthetic(
        (2, 5, 7), classes=4, samples=200, test_samples=40, **options
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_batches_are_normalised_images_and_labels(name):
    data = ready(MODULES[name](batch_size=50))
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        images, labels = next(iter(loader))
        assert images.shape == (len(labels), *data.shape)
        assert images.dtype == torch.float32
        assert 0 <= labels.min() <= labels.max() < data.classes
    images = torch.cat([images for images, _ in data.train_dataloader()])
    torch.testing.assert_close(
        images.mean((0, 2, 3)), torch.zeros(data.shape[0]), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", MODULES)
def test_validation_is_split_off_the_training_set_and_nothing_else(name):
    data, other = (
        ready(MODULES[name](validation=0.25)),
        ready(MODULES[name](validation=0.25, seed=7)),
    )
    train, val, test = (data.sets[which] for which in ("train", "val", "test"))
    assert train.images is val.images
    assert test.images is not train.images
    assert torch.cat([train.rows, val.rows]).sort()[0].tolist() == list(range(len(train.images)))
    assert abs(len(val) / len(train.images) - 0.25) < 0.02
    assert torch.equal(other.sets["val"].rows, val.rows)  # the seed is for the order
    assert len(test) == len(test.images)
    # the statistics are those of the training part: the test set's would differ
    assert torch.equal(train.scale, test.scale)
    without = ready(MODULES[name](validation=0))
    assert without.val_dataloader() == []
    assert len(without.sets["train"]) == len(train.images)
    assert torch.equal(without.sets["test"].images, test.images)


def test_the_test_images_of_digits_are_fixed_and_not_among_the_others():
    data = ready(Digits())
    assert [len(data.sets[which]) for which in ("train", "val", "test")] == [1151, 287, 359]
    train = {bytes(image.numpy()) for image in data.sets["train"].images}
    # all 1,797 images differ from each other
    assert not train & {bytes(image.numpy()) for image in data.sets["test"].images}


def test_only_the_training_images_are_augmented_and_shuffled():
    from lightning_prune.data import CropFlip

    data = ready(Digits(augment=CropFlip(pad=1), workers=0))
    assert data.sets["train"].augment == CropFlip(pad=1)
    assert data.sets["val"].augment is None
    assert data.sets["test"].augment is None
    for which, shuffled in (("train", True), ("val", False), ("test", False)):
        assert data.loader(which, shuffle=which == "train").sampler.shuffle is shuffled


def test_drop_last_holds_for_training_only():
    data = ready(Digits(batch_size=100, drop_last=True))
    assert [len(loader) for loader in (data.train_dataloader(), data.val_dataloader())] == [11, 3]


def test_reading_makes_no_use_of_the_global_random_stream():
    state = torch.get_rng_state()
    for make in MODULES.values():
        data = ready(make())
        next(iter(data.train_dataloader()))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("packed", [True, False])
def test_torchvisions_layout_is_found_and_left_as_it_is(tmp_path, monkeypatch, packed):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        source = ROOT / "fashion-mnist" / "small" / f"{name}.gz"
        if packed:
            shutil.copy(source, raw)
        else:
            (raw / name).write_bytes(gzip.decompress(source.read_bytes()))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setenv("LIGHTNING_PRUNE_DATA", str(tmp_path))
    data = ready(FashionMNIST(download=True))  # nothing is missing, so nothing is fetched
    assert len(data.sets["test"]) == 1000
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert torch.equal(data.sets["test"].images, ready(MODULES["fashion"]()).sets["test"].images)


def test_missing_data_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"MNIST is not in .*; pass download=True, or put the four official"
    ):
        MNIST(tmp_path).prepare_data()
    with pytest.raises(FileNotFoundError, match=r"is not in .*tiny"):
        FashionMNIST(ROOT, subset="tiny").setup()
    monkeypatch.delenv("LIGHTNING_PRUNE_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"pass root=.* or set LIGHTNING_PRUNE_DATA"):
        MNIST().prepare_data()
    assert not list(tmp_path.iterdir())


def test_images_and_labels_must_belong_together(tmp_path):
    folder = tmp_path / "mnist"
    shutil.copytree(ROOT / "mnist" / "small", folder)
    shutil.copy(
        folder / f"{FILES[3]}.gz", folder / f"{FILES[1]}.gz"
    )  # 1,000 labels for 2,000 images
    with pytest.raises(ValueError, match="as many labels"):
        MNIST(tmp_path).setup()
    data = Digits()
    data.classes = 5
    with pytest.raises(ValueError, match="labels from 0 to 4, got 0 to 9"):
        data.setup()


def test_bad_arguments_are_refused():
    for options in ({"batch_size": 0}, {"workers": -1}, {"validation": 1.0}, {"validation": -0.1}):
        with pytest.raises(ValueError, match=r"got -?\d"):
            Digits(**options)
    with pytest.raises(ValueError, match="channels, height, width"):
        Synthetic(shape=(3, 3))


def test_synthetic_images_can_be_told_apart():
    data = ready(Synthetic((1, 6, 6), classes=3, samples=90, test_samples=30, noise=0.5))
    train, test = data.sets["train"], data.sets["test"]
    centres = torch.stack([train.images[train.labels == label].mean(0) for label in range(3)])
    nearest = (test.images[:, None] - centres).flatten(2).norm(dim=2).argmin(1)
    assert torch.equal(nearest, test.labels)
    assert not torch.equal(train.images[:30], test.images)


def test_torchvision_scikit_learn_and_torchdyn_are_only_imported_when_used():
    package = Path(lightning_prune.data.__file__).parent.parent
    for file in (
        file for room in ("data", "models", "tasks") for file in (package / room).glob("*.py")
    ):
        tree = ast.parse(file.read_text())
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        tops = {
            getattr(node, "module", None) or alias.name for node in imports for alias in node.names
        }
        assert not {"torchvision", "sklearn", "torchdyn"} & {top.split(".")[0] for top in tops}, (
            file
        )
        if file.parent.name == "models" or file.name == "loader.py":
            assert not any("lightning" in top and "lightning_prune" not in top for top in tops), (
                file
            )


def test_a_subset_is_the_name_of_a_folder():
    with pytest.raises(ValueError, match=r"subset is the name of a folder .*, not 600"):
        FashionMNIST(ROOT, subset=600)
