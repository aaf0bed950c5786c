import gzip
import os
import shutil
from pathlib import Path

import pytest
import torch

from lightning_prune.data import MNIST
from lightning_prune.data.idx import read_idx

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")


def test_idx_files_equal_torchvisions_reading(tmp_path):
    from torchvision.datasets.mnist import read_image_file, read_label_file

    source = ROOT / "mnist" / "small"
    for name, ndim, read in ((FILES[0], 3, read_image_file), (FILES[1], 1, read_label_file)):
        (tmp_path / name).write_bytes(gzip.decompress((source / f"{name}.gz").read_bytes()))
        expected = read(str(tmp_path / name))
        assert torch.equal(read_idx(source / f"{name}.gz", ndim).to(expected.dtype), expected)
        assert torch.equal(read_idx(tmp_path / name, ndim).to(expected.dtype), expected)


def pack(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1)


BROKEN = {
    "truncated gz": lambda plain: pack(plain)[:5000],
    "damaged gz": lambda plain: pack(plain)[:2000] + bytes(50) + pack(plain)[2050:],
    "no gz": lambda plain: b"<html>404</html>",
    "truncated idx": lambda plain: pack(plain[:-1]),
    "too long": lambda plain: pack(plain + b"0"),
    "header only": lambda plain: pack(plain[:10]),
    "labels": lambda plain: pack(b"\0\0\x08\x01" + plain[4:]),
    "floats": lambda plain: pack(b"\0\0\x0d\x03" + plain[4:]),
    "absurd size": lambda plain: pack(plain[:4] + b"\xff" * 12 + plain[16:]),
    "empty": lambda plain: b"",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_and_foreign_files_are_named(tmp_path, kind):
    folder = tmp_path / "mnist"
    shutil.copytree(ROOT / "mnist" / "small", folder)
    file = folder / f"{FILES[0]}.gz"
    file.write_bytes(BROKEN[kind](gzip.decompress(file.read_bytes())))
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte\.gz is .*official file"
    ) as caught:
        MNIST(tmp_path).setup()
    assert "\n" not in str(caught.value)
