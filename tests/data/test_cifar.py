import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_prune.data import CIFAR10, CIFAR100

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def test_it_reads_what_torchvision_reads(tmp_path, monkeypatch):
    import torchvision

    source = ROOT / "cifar10-subset"
    shutil.copytree(source / "small" / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    shutil.copy(source / "cifar-10-batches-py" / "batches.meta", tmp_path / "cifar-10-batches-py")
    # the batches are parts of the official ones, so their sums differ
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    for train in (True, False):
        official = torchvision.datasets.CIFAR10(str(tmp_path), train=train)
        images, labels = CIFAR10(tmp_path).read(train)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), official.data)
        assert labels.tolist() == official.targets


def test_the_subset_is_found_and_split(tmp_path):
    data = ready(CIFAR10(ROOT, subset="small", validation=0.1))
    assert {part: len(rows) for part, rows in data.sets.items()} == {
        "train": 450, "val": 50, "test": 300,
    }  # fmt: skip
    assert data.sets["val"].labels[data.sets["val"].rows].bincount().tolist() == [5] * 10
    images = torch.cat([images for images, _ in data.train_dataloader()])
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)


def hundred(folder, name, count):
    draw = np.random.default_rng(count)
    content = {
        "data": draw.integers(0, 256, (count, 3072), dtype=np.uint8),
        "fine_labels": [row % 100 for row in range(count)],
        "coarse_labels": [row % 20 for row in range(count)],
    }
    (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return content


def test_cifar100_has_the_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    content = hundred(folder, "train", 300)
    hundred(folder, "test", 100)
    data = ready(CIFAR100(tmp_path, validation=0))
    train = data.sets["train"]
    assert train.labels.tolist() == content["fine_labels"]
    # the official layout: a row is the red, green and blue plane
    assert np.array_equal(train.images[7, 2].flatten().numpy(), content["data"][7, 2048:])
    assert (len(data.sets["test"]), data.classes) == (100, 100)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"CIFAR10 is not in .*; pass download=True, or"):
        CIFAR10(tmp_path).prepare_data()
    with pytest.raises(FileNotFoundError, match=r"is not in .*tiny"):
        CIFAR10(ROOT, subset="tiny").setup()
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps({"data": np.zeros((2, 3)), "labels": [0, 1]}))
    with pytest.raises(ValueError, match="is no batch of CIFAR100: that has `data`"):
        CIFAR100(tmp_path).setup()
