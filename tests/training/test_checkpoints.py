"""Checkpoint files: whole, damaged, or something else; and which one a run goes on from."""

import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from cases import EPOCHS, Case
from pytorch_lightning.callbacks import ModelCheckpoint
from subject import Net, fit

from lightning_prune import Pruning, Rewind
from lightning_prune.training.checkpoints import check_checkpoint, damage, latest_checkpoint

CASE = Case("magnitude", Rewind(0, weights=True))
CONTENT = {"state_dict": {"weight": torch.arange(5.0)}, "epoch": 3}


def save(path, content=None, age=0):
    torch.save(CONTENT if content is None else content, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


class Code:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_cut_anywhere_is_damaged(tmp_path):
    path = save(tmp_path / "a.ckpt")
    whole = path.read_bytes()
    assert damage(path) is None
    for length in [*range(0, len(whole), 3), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert damage(path) is not None, length


def test_a_changed_bit_is_found_or_changes_nothing(tmp_path):
    path = save(tmp_path / "a.ckpt")
    whole = path.read_bytes()
    weights = whole.index(torch.arange(5.0).numpy().tobytes())
    directory = whole.index(b"PK\x01\x02")
    for place in range(random.randrange(2), len(whole), 2):
        changed = bytearray(whole)
        changed[place] ^= 1 << random.randrange(8)
        path.write_bytes(changed)
        if damage(path) is None:
            assert not weights <= place < weights + 20
            try:
                loaded = torch.load(path, weights_only=True)
            except (RuntimeError, pickle.UnpicklingError):  # torch sees more of the directory
                assert place > directory
            else:
                assert loaded["epoch"] == 3
                assert torch.equal(loaded["state_dict"]["weight"], torch.arange(5.0))


def test_files_that_are_no_checkpoints_are_told_apart(tmp_path):
    for name, content in {"empty": b"", "text": b"epoch: 3\n" * 100, "zeros": bytes(5000)}.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert "no whole archive" in damage(path)
    with zipfile.ZipFile(tmp_path / "foreign.ckpt", "w") as archive:
        archive.writestr("letter.txt", "hello")
    assert damage(tmp_path / "foreign.ckpt") == "it is an archive of something else"
    assert damage(tmp_path) is not None
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint '.*gone\.ckpt'"):
        check_checkpoint(tmp_path / "gone.ckpt")
    with pytest.raises(ValueError, match=r"foreign\.ckpt' cannot be used: it is an archive"):
        check_checkpoint(tmp_path / "foreign.ckpt")
    assert check_checkpoint(str(save(tmp_path / "a.ckpt"))) == tmp_path / "a.ckpt"


def test_files_without_checksums_are_read_all_the_same(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = save(tmp_path / "a.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert damage(path) is None
    path.write_bytes(path.read_bytes()[:-1])
    assert damage(path) is not None


def test_no_code_is_executed_from_a_file(tmp_path):
    mark = tmp_path / "executed"
    path = save(tmp_path / "a.ckpt", {"state_dict": {}, "epoch": Code(mark)})
    assert damage(path) is None
    assert latest_checkpoint(tmp_path) == path
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        fit(Pruning("magnitude", EPOCHS, verbose=False), seed=0, resume=path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it was real


def test_the_newest_whole_one_is_chosen_and_torn_ones_are_named(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    old = save(tmp_path / "zz.ckpt", age=30)
    new = save(tmp_path / "run" / "checkpoints" / "aa.ckpt", age=20)
    assert latest_checkpoint(tmp_path) == new
    torn = save(tmp_path / "torn.ckpt")
    torn.write_bytes(torn.read_bytes()[:700])
    with pytest.warns(UserWarning, match=r"Skipping the checkpoint '.*torn\.ckpt': it is no whole"):
        assert latest_checkpoint(tmp_path) == new
    new.write_bytes(b"")
    os.utime(new, (1e9, 1e9))
    with pytest.warns(UserWarning, match="Skipping") as told:
        assert latest_checkpoint(tmp_path) == old
    assert len(told) == 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of a pruned run."""
    saver = ModelCheckpoint(tmp_path_factory.mktemp("saved"), "{step}", every_n_train_steps=9)
    CASE.fit(seed=0, callbacks=[saver])
    return Path(saver.best_model_path)


@pytest.mark.parametrize("length", [0, 300, 5000])
def test_a_run_does_not_start_from_a_torn_file(length, saved, tmp_path):
    torn = shutil.copy(saved, tmp_path)
    os.truncate(torn, length)
    net = Net()
    with pytest.raises(ValueError, match=r"step=18\.ckpt' cannot be used: it is no whole arch"):
        fit(CASE.pruning(), seed=0, net=net, resume=torn)
    assert net.losses == []


def test_a_run_does_not_start_from_a_changed_weight(saved, tmp_path):
    path = Path(shutil.copy(saved, tmp_path))
    weights = torch.load(path, weights_only=True)["state_dict"]["net.5.weight"]
    content = path.read_bytes()
    place = content.index(weights.numpy().tobytes())
    path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    changed = torch.load(path, weights_only=True)["state_dict"]["net.5.weight"]
    assert not torch.equal(changed, weights)  # torch reads on
    net = Net()
    with pytest.raises(ValueError, match=r"cannot be used: its part .*data/.* is not what was"):
        fit(CASE.pruning(), seed=0, net=net, resume=path)
    assert net.losses == []
