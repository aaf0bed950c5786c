"""A run that is killed again and again ends as if nothing had happened."""

import random
import time
import warnings

import pytest
import torch
from processes import in_new_process, start
from subject import differences
from victim import live, undisturbed

from lightning_prune.training.checkpoints import damage, latest_checkpoint

KILLS = 12


def wait(clock, letters, count, process):
    """Until so many of the letters were written since now, and then for a random moment."""
    before = count_of(clock, letters)
    deadline = time.monotonic() + 60
    while count_of(clock, letters) - before < count:
        assert process.is_alive(), "the run ended before it was killed"
        assert time.monotonic() < deadline, "the run stands still"
        time.sleep(0.0005)
    time.sleep(random.uniform(0, 0.004))


def count_of(clock, letters):
    text = clock.read_text() if clock.exists() else ""
    return sum(text.count(letter) for letter in letters)


def newest(folder):
    """The checkpoint to go on from, and the warnings that named torn ones."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        path = latest_checkpoint(folder)
    return path, [str(warning.message) for warning in told]


@pytest.mark.slow
def test_a_run_killed_at_twelve_moments_ends_as_the_uninterrupted_one(tmp_path):
    folder, clock, result = tmp_path / "run", tmp_path / "clock", tmp_path / "result.pt"
    folder.mkdir()
    straight = in_new_process(undisturbed, folder=tmp_path)
    torn, resumed_from = set(), []
    for number in range(KILLS):
        path, _ = newest(folder)
        resumed_from.append(path)
        whole = [file for file in folder.glob("*.ckpt") if damage(file) is None]
        assert path == max(whole, key=lambda file: file.stat().st_mtime_ns, default=None)
        seed = number if path else 0  # from the start it is the run of the same seed
        process = start(live, folder, clock, seed, path, result=result)
        # a third of the moments lie within the writing of a checkpoint, the others anywhere
        if number % 3 == 2:
            wait(clock, "w", random.randint(1, 14), process)
        else:
            wait(clock, "sbzew", random.randint(1, 50), process)
        process.kill()
        process.join()
        assert process.exitcode == -9
        for file in set(folder.glob("*.ckpt")) - torn:
            if damage(file) is not None:
                torn.add(file)
                path, told = newest(folder)
                assert path != file
                assert any(repr(str(file)) in text for text in told)
    assert len(torn) >= 3
    assert len({path for path in resumed_from if path}) >= 4
    path, _ = newest(folder)
    process = start(live, folder, clock, 99, path, result=result)
    process.join(60)
    last = torch.load(result, weights_only=True)
    assert len(straight["events"]) == 7
    assert differences({**straight, "losses": 0}, {**last, "losses": 0}) == []
    assert 0 < len(last["losses"]) < len(straight["losses"])
    assert last["losses"] == straight["losses"][-len(last["losses"]) :]
