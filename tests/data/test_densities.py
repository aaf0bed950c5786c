import os
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate

import lightning_prune
from lightning_prune.data import BSDS300, Gas, Hepmass, Miniboone, Points, Power
from lightning_prune.data.densities import tail_split, without_repeats
from lightning_prune.data.gas import uncorrelated

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))
ALL = {"power": Power, "gas": Gas, "hepmass": Hepmass, "miniboone": Miniboone, "bsds300": BSDS300}


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def sizes(data):
    return [len(data.sets[part]) for part in ("train", "val", "test")]


def normal(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape)


def write_gas(folder):
    """16 sensors, every second one a copy of the one before but for little noise."""
    folder.mkdir(parents=True)
    sensors = normal(200, 8).repeat(2, 1) + 0.01 * normal(200, 16, seed=1)
    frame = pd.DataFrame(sensors, columns=[f"sensor{number}" for number in range(16)])
    for place, name in enumerate(("Time", "Meth", "Eth")):
        frame.insert(place, name, np.arange(200.0))
    frame.to_csv(folder / "ethylene_CO.csv", index=False)
    return frame


def write_hepmass(folder):
    """27 features, six of them with a smallest value that occurs often."""
    folder.mkdir(parents=True)
    tables = {}
    for part, count in (("train", 400), ("test", 100)):
        table = normal(count, 27, seed=count)
        table[:, :6] = table[:, :6].clip(-0.5)
        table[:, 6] = table[:, 6].clip(max=0.5)  # often as well, but not the smallest
        label = np.arange(count) % 2
        columns = ["# label", *[f"f{number}" for number in range(27)]]
        frame = pd.DataFrame(np.column_stack([label, table]), columns=columns)
        if part == "test":
            frame["mass"] = 1000.0
        frame.to_csv(folder / f"1000_{part}.csv", index=False)
        tables[part] = table[label == 1]
    return tables


class Archive(dict):
    """What h5py's File looks like to its reader."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def test_power_is_shuffled_noisy_and_standardised_by_what_is_not_test():
    data = ready(Power(ROOT, batch_size=500))
    raw = np.load(ROOT / "power" / "data.npy")
    assert sizes(data) == [30_200, 3_355, 3_728]
    assert (data.dims, data.mixture, data.floor) == (6, None, None)
    batch = next(iter(data.train_dataloader()))
    assert (batch.shape, batch.dtype) == ((500, 6), torch.float32)
    parts = [data.sets[part].points.double() for part in ("train", "val", "test")]
    measured = torch.cat(parts[:2])
    torch.testing.assert_close(measured.mean(0), torch.zeros(6).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        measured.std(0, correction=0), torch.ones(6).double(), atol=1e-4, rtol=0
    )
    # the published preparation as it stands in the papers' code: rows themselves are shuffled
    random = np.random.RandomState(42)
    random.shuffle(raw)
    kept = np.delete(np.delete(raw, 3, 1), 1, 1)
    noises = [0.01 * random.rand(len(raw), 1), 0.001 * random.rand(len(raw), 1)]
    noises = [noises[1], noises[0], random.rand(len(raw), 3), np.zeros((len(raw), 1))]
    noisy = kept + np.hstack(noises)
    mine = noisy[: len(measured)]
    expected = (noisy - mine.mean(0)) / mine.std(0)
    np.testing.assert_allclose(torch.cat(parts), expected, atol=1e-5)
    assert np.ptp(expected[:, 5]) > 3  # minutes of a whole day, not a stretch of it


def test_miniboone_is_prepared_only_if_it_is_raw(tmp_path):
    data = ready(Miniboone(ROOT))
    assert sizes(data) == [1234, 137, 152]
    raw = np.load(ROOT / "miniboone" / "data.npy")
    expected = (raw - raw[:1371].mean(0)) / raw[:1371].std(0)
    points = torch.cat([data.sets[part].points for part in ("train", "val", "test")])
    np.testing.assert_allclose(points, expected, atol=1e-4, rtol=1e-4)
    (tmp_path / "MINIBOONE").mkdir()  # upper case, as some archives have it
    table = normal(300, 50)
    table[:, 10:17] = table[:, 10:17].clip(-0.5)
    table[:20, 0] = -999
    np.save(tmp_path / "MINIBOONE" / "data.npy", table)
    data = ready(Miniboone(tmp_path))
    assert sizes(data) == [227, 25, 28]
    kept = np.delete(table[20:], range(10, 17), 1)
    expected = (kept - kept[:252].mean(0)) / kept[:252].std(0)
    np.testing.assert_allclose(data.sets["test"].points, expected[252:], atol=1e-5)


def test_gas_leaves_out_what_is_correlated_and_is_standardised_as_a_whole(tmp_path):
    frame = write_gas(tmp_path / "gas")
    data = ready(Gas(tmp_path))
    assert sizes(data) == [162, 18, 20]
    whole = torch.cat([data.sets[part].points for part in ("train", "val", "test")])
    # of each pair the first one leaves
    sensors = frame[[f"sensor{number}" for number in range(1, 16, 2)]]
    np.testing.assert_allclose(whole, (sensors - sensors.mean()) / sensors.std(), atol=1e-5)


def test_the_first_correlated_column_leaves_again_and_again():
    a, b = normal(500), normal(500, seed=1)
    chain = np.column_stack([a, b, a + 0.1 * b, a + 0.2 * b, -a])
    # 0 is close to 2 and 3, then 2 to 3; the negative is not close
    assert uncorrelated(chain).tolist() == [1, 3, 4]


def test_hepmass_keeps_the_signal_and_the_quirk(tmp_path):
    tables = write_hepmass(tmp_path / "hepmass")
    data = ready(Hepmass(tmp_path))
    assert sizes(data) == [180, 20, 50]
    train, test = tables["train"], tables["test"]
    expected = {
        part: (table - train.mean(0)) / train.std(0, ddof=1) for part, table in tables.items()
    }
    points = torch.cat([data.sets["train"].points, data.sets["val"].points])
    np.testing.assert_allclose(points, expected["train"][:, 6:], atol=1e-5)
    np.testing.assert_allclose(data.sets["test"].points, expected["test"][:, 6:], atol=1e-5)
    # a longer row than the header loses its end
    path = tmp_path / "hepmass" / "1000_train.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *(f"{line},1000.0" for line in lines)]))
    again = ready(Hepmass(tmp_path))
    assert torch.equal(again.sets["train"].points, data.sets["train"].points)
    assert len(test) == 50


def test_only_the_smallest_value_counts_as_a_repeat():
    table = np.arange(20.0)[:, None].repeat(3, 1)
    table[:6, 0] = 0
    table[:5, 1] = 0
    table[10:, 2] = 30
    assert without_repeats(table).tolist() == [False, True, True]


def test_the_parts_of_bsds300_are_used_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "BSDS300").mkdir()
    path = tmp_path / "BSDS300" / "BSDS300.hdf5"
    parts = {
        name: normal(count, 63, seed=count)
        for name, count in (("train", 50), ("validation", 20), ("test", 30))
    }
    path.write_bytes(b"a stand-in")
    fake = types.ModuleType("h5py")
    fake.File = lambda path, mode: Archive(parts)
    monkeypatch.setitem(sys.modules, "h5py", fake)
    data = ready(BSDS300(tmp_path))
    assert sizes(data) == [50, 20, 30]
    np.testing.assert_allclose(data.sets["val"].points, parts["validation"], atol=1e-6)
    assert sizes(ready(BSDS300(tmp_path, rows=25))) == [25, 20, 25]
    del parts["test"]
    with pytest.raises(ValueError, match=r"no part 'test'; get the official file again"):
        ready(BSDS300(tmp_path))

    def damaged(path, mode):
        raise OSError("file signature not found")

    fake.File = damaged
    with pytest.raises(ValueError, match=r"damaged or foreign \(file signature not found\)"):
        ready(BSDS300(tmp_path))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"install h5py to read it"):
        ready(BSDS300(tmp_path))


def test_bsds300_is_read_from_a_real_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "bsds300").mkdir()
    with h5py.File(tmp_path / "bsds300" / "BSDS300.hdf5", "w") as file:
        for name, count in (("train", 50), ("validation", 20), ("test", 30)):
            file[name] = normal(count, 63)
    assert sizes(ready(BSDS300(tmp_path))) == [50, 20, 30]


def test_quick_runs_take_the_first_points_of_the_same_preparation():
    whole, some = ready(Power(ROOT)), ready(Power(ROOT, rows=100))
    assert sizes(some) == [100, 100, 100]
    for part in ("train", "val", "test"):
        assert torch.equal(some.sets[part].points, whole.sets[part].points[:100])


def test_splits_cut_from_the_end_and_miss_nothing():
    parts = tail_split(np.arange(105)[:, None])
    assert [len(parts[part]) for part in ("train", "val", "test")] == [86, 9, 10]
    joined = np.concatenate([parts["train"], parts["val"], parts["test"]])
    assert joined[:, 0].tolist() == list(range(105))


def test_points_come_alone_or_in_batches_and_an_epoch_continues():
    points = Points(torch.arange(12.0).view(6, 2))
    assert points[2].tolist() == [4, 5]
    assert points.collate(points.__getitems__([1, 0])).tolist() == [[2, 3], [0, 1]]
    straight, again = (
        ready(Miniboone(ROOT, batch_size=200, workers=workers)).train_dataloader()
        for workers in (0, 1)
    )
    straight.sampler.set_epoch(2)
    batches = iter(straight)
    next(batches)
    again.load_state_dict(straight.state_dict())
    rest = list(batches)
    assert len(rest) == 6
    for batch, other in zip(rest, list(again), strict=True):
        assert torch.equal(batch, other)


@pytest.mark.parametrize("option", ALL)
def test_the_yaml_makes_it(option, tmp_path):
    cfg = lightning_prune.compose("train", f"data={option}", f"data.root={tmp_path}", "data.rows=9")
    data = instantiate(cfg.data)
    assert type(data) is ALL[option]
    assert data.dims == cfg.dataset.inputs
    with pytest.raises(FileNotFoundError, match=rf"{data.name} is not in .*; put .* into "):
        data.prepare_data()


def test_what_is_wrong_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="rows is at least 1"):
        Power(ROOT, rows=0)
    monkeypatch.delenv("LIGHTNING_PRUNE_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"pass root= .* or set LIGHTNING_PRUNE_DATA"):
        Power().prepare_data()
    (tmp_path / "power").mkdir()
    file = tmp_path / "power" / "data.npy"
    for content in (np.zeros((10, 7)), np.zeros(8), np.zeros((0, 8)), np.full((9, 8), "a")):
        np.save(file, content)
        with pytest.raises(ValueError, match=r"no table of numbers with 8 columns; get the off"):
            ready(Power(tmp_path))
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="no table of numbers"):
        ready(Power(tmp_path))
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="no table of numbers"):
        ready(Power(tmp_path))
    broken = normal(100, 8)
    broken[3, 0] = np.nan
    np.save(file, broken)
    with pytest.raises(ValueError, match="POWER has missing or infinite values in train"):
        ready(Power(tmp_path))
    np.save(file, normal(9, 8))
    with pytest.raises(ValueError, match=r"got \(0, 6\) for val"):
        ready(Power(tmp_path))
    (tmp_path / "miniboone").mkdir()
    np.save(tmp_path / "miniboone" / "data.npy", normal(100, 50))
    with pytest.raises(ValueError, match=r"43 numbers after the preparation, got \(81, 50\)"):
        ready(Miniboone(tmp_path))


def test_what_is_wrong_with_csv_files_is_said(tmp_path):
    (tmp_path / "gas").mkdir()
    pickled = tmp_path / "gas" / "ethylene_CO.pickle"
    pickled.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"pickle is a program .* write it to ethylene_CO"):
        ready(Gas(tmp_path))
    file = tmp_path / "gas" / "ethylene_CO.csv"
    for content in ("", "a,b\n1,red\n"):
        file.write_text(content)
        with pytest.raises(ValueError, match="is no table of numbers with a header"):
            ready(Gas(tmp_path))
    file.write_text("Time,Meth,a\n1,2,3\n")
    with pytest.raises(ValueError, match="no column Eth; export"):
        ready(Gas(tmp_path))
    write_hepmass(tmp_path / "hepmass")
    train = (tmp_path / "hepmass" / "1000_train.csv").read_text()
    (tmp_path / "hepmass" / "1000_test.csv").write_text(train)
    with pytest.raises(ValueError, match="has 27 and 26 columns for training and test"):
        ready(Hepmass(tmp_path))
