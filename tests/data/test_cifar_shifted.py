import pickle
from itertools import product

import numpy as np
import pytest
import torch

from lightning_prune.data import CIFAR10, CIFAR10C, CIFAR101, Digits, MixedCorruptions, Synthetic

NAMES = (
    "brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_blur",
    "gaussian_noise", "glass_blur", "impulse_noise", "jpeg_compression", "motion_blur", "pixelate",
    "saturate", "shot_noise", "snow", "spatter", "speckle_noise", "zoom_blur",
)  # fmt: skip
COUNT = 6  # of test images in the files that are written here


def pixels(name, count):
    draw = np.random.default_rng(len(name))
    return draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for name in NAMES:
        np.save(folder / f"{name}.npy", pixels(name, 5 * COUNT))
    np.save(folder / "labels.npy", np.tile(np.arange(COUNT), 5))
    np.save(tmp_path / "cifar10.1_v6_data.npy", pixels("new", 8))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.arange(8, dtype=np.int32))
    return tmp_path


@pytest.fixture
def data(data_root):
    return CIFAR10(data_root, subset="small")


def test_severities_follow_one_another_in_each_file(root, data):
    found = list(CIFAR10C(root, severities=(1, 4)).distributions(data))
    assert [(each.name, each.severity) for each in found] == list(product(NAMES, (1, 4)))
    for each in found:
        start = (each.severity - 1) * COUNT
        stored = np.load(root / "CIFAR-10-C" / f"{each.name}.npy")[start : start + COUNT]
        expected = torch.from_numpy(stored).permute(0, 3, 1, 2)
        assert torch.equal(each.dataset.images, expected)
        assert each.dataset.images.is_contiguous()
        assert each.dataset.labels.tolist() == list(range(COUNT))
        images, _ = each.dataset.__getitems__(range(COUNT))
        torch.testing.assert_close(
            images, ((expected - data.mean.view(-1, 1, 1)) / data.std.view(-1, 1, 1)).float(),
            atol=1e-5, rtol=0,
        )  # fmt: skip


def test_of_each_severity_the_first_images(root, data):
    (part,) = CIFAR10C(root, ["fog"], (5,)).distributions(data, 2)
    stored = np.load(root / "CIFAR-10-C" / "fog.npy")[4 * COUNT : 4 * COUNT + 2]
    assert np.array_equal(part.dataset.images.permute(0, 2, 3, 1).numpy(), stored)
    (whole,) = CIFAR10C(root, ["fog"], (5,)).distributions(data, 1000)
    assert len(whole.dataset) == COUNT


def test_sides_are_what_training_knew(root, data_root):
    augment = MixedCorruptions(names=["fog", "snow"])
    data = CIFAR10(data_root, subset="small", augment=augment)
    sides = {each.name: each.side for each in CIFAR10C(root).distributions(data)}
    assert {name for name, side in sides.items() if side == "train"} == {"fog", "snow"}
    (new,) = CIFAR101(root).distributions(data)
    assert new.side == "test"


@pytest.mark.parametrize("folder", ["", "CIFAR-10.1", "cifar10.1"])
def test_the_new_test_set(tmp_path, data, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    images = pixels("new", 8)
    np.save(tmp_path / folder / "cifar10.1_v4_data.npy", images)
    np.save(tmp_path / folder / "cifar10.1_v4_labels.npy", np.arange(8, dtype=np.int32))
    (found,) = CIFAR101(tmp_path, version="v4").distributions(data)
    assert (found.name, found.severity, found.side) == ("cifar10.1", 0, "test")
    assert np.array_equal(found.dataset.images.permute(0, 2, 3, 1).numpy(), images)
    assert found.dataset.labels.tolist() == list(range(8))
    (part,) = CIFAR101(tmp_path, version="v4").distributions(data, 3)
    assert np.array_equal(part.dataset.images.permute(0, 2, 3, 1).numpy(), images[:3])


def test_the_root_comes_from_the_environment(root, data, monkeypatch):
    data.setup("test")
    monkeypatch.setenv("LIGHTNING_PRUNE_DATA", str(root))
    assert len(list(CIFAR10C(names=["fog"]).distributions(data))) == 1
    monkeypatch.delenv("LIGHTNING_PRUNE_DATA")
    for shift in (CIFAR10C(), CIFAR101()):
        with pytest.raises(FileNotFoundError, match="pass root="):
            shift.distributions(data)


def test_missing_files_are_named(root, tmp_path, data):
    (root / "CIFAR-10-C" / "snow.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks snow\.npy; unpack the official"):
        CIFAR10C(root).distributions(data)
    assert next(CIFAR10C(root, ["fog"]).distributions(data)).name == "fog"
    with pytest.raises(FileNotFoundError, match=r"cifar10\.1_v4_data\.npy and .*labels"):
        CIFAR101(root, "v4").distributions(data)


class Trap:
    def __reduce__(self):
        return (print, ("this must not run",))


def written(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((10, 32, 32, 3), np.uint8), r"uint8 of \(10, 32, 32, 3\) instead of bytes"),
        (np.zeros((5 * COUNT, 32, 32, 3), np.float32), "float32 of"),
        (np.zeros((5 * COUNT, 3, 32, 32), np.uint8), r"of \(30, 3, 32, 32\)"),
        (b"", "damaged or no NumPy array"),
        (b"\x93NUMPY\x01\x00 torn", "damaged or no NumPy array"),
        (pickle.dumps(Trap()), "damaged or no NumPy array"),
        (pickle.dumps([1, 2]), "damaged or no NumPy array"),
    ],
)
def test_foreign_images_are_refused(root, data, capsys, content, message):
    written(root / "CIFAR-10-C" / "fog.npy", content)
    written(root / "cifar10.1_v6_data.npy", content)
    with pytest.raises(ValueError, match=rf"fog\.npy .*{message}.*put the official file"):
        next(CIFAR10C(root, ["fog"]).distributions(data))
    with pytest.raises(ValueError, match=r"v6_data\.npy .*put the official file"):
        CIFAR101(root).distributions(data)
    assert capsys.readouterr().out == ""


def test_torn_files_are_refused(root, data):
    path = root / "CIFAR-10-C" / "fog.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"fog\.npy is damaged"):
        next(CIFAR10C(root, ["fog"]).distributions(data))
    archive = root / "archive.npz"
    np.savez(archive, pixels("fog", 5))
    archive.rename(path)
    with pytest.raises(ValueError, match=r"fog\.npy is an archive"):
        next(CIFAR10C(root, ["fog"]).distributions(data))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(5 * COUNT), "labels from 0 to 29 instead of 0 to 9"),
        (np.full(5 * COUNT, -1), "labels from -1"),
        (np.zeros((5, COUNT), int), r"int64 of \(5, 6\)"),
        (np.zeros(5 * COUNT), "no list of labels but has float64"),
        (np.zeros(0, int), r"of \(0,\)"),
        (np.zeros(5 * COUNT + 1, int), "same number for each of 5 severities"),
        (np.zeros(5 * COUNT + 5, int), "one image for each label"),
    ],
)
def test_labels_must_fit(root, data, labels, message):
    np.save(root / "CIFAR-10-C" / "labels.npy", labels)
    with pytest.raises(ValueError, match=message):
        next(CIFAR10C(root, ["fog"]).distributions(data))


def test_other_data_are_refused(root, data):
    for other in (Digits(), Synthetic((3, 32, 32), classes=9)):
        for shift in (CIFAR10C(root), CIFAR101(root)):
            with pytest.raises(ValueError, match=r"is for networks trained on images of \(3, 32"):
                shift.distributions(other)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        CIFAR10C(root).distributions(data, 0)


def test_bad_arguments_are_refused(root):
    for names, message in (
        (["rain"], "CIFAR-10-C has no 'rain'"),
        (["fog", "fog"], "once"),
        ([], "once"),
    ):
        with pytest.raises(ValueError, match=message):
            CIFAR10C(root, names)
    with pytest.raises(ValueError, match="from 1 to 5"):
        CIFAR10C(root, severities=[0])
    with pytest.raises(ValueError, match="versions v4 and v6, got 'v5'"):
        CIFAR101(root, "v5")
