import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_prune.data import Columns, Split, Table
from lightning_prune.data.split import group_split

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))
TREES = ROOT / "reforestree" / "mapping" / "final_dataset.csv"
POWER = ROOT / "power" / "household_power_consumption.txt"
TRAIN = torch.tensor([0, 1, 2])


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def test_numbers_are_standardised_by_the_training_part():
    frame = pd.DataFrame({"a": [1.0, 3.0, None, 6.0, None], "b": [True, False, False, True, True]})
    inputs = Columns().encode(frame, ["a", "b"], TRAIN)
    # 1 and 3 have the mean 2 and the deviation 1; a missing value is the mean
    assert inputs[:, 0].tolist() == [-1, 1, 0, 4, 0]
    # a third is true: mean 1/3, deviation sqrt(2)/3
    torch.testing.assert_close(
        inputs[:, 1], torch.tensor([2.0, -1, -1, 2, 2]) / 2**0.5, atol=1e-6, rtol=0
    )


def test_categories_are_those_of_the_training_part():
    frame = pd.DataFrame({"a": ["y", "x", None, "z", "x"], "b": [7, 5, 7, 6, 5]})
    columns = Columns(categorical=["b"])
    # "<missing>", "x", "y"; z is unknown
    assert columns.encode(frame, ["a"], TRAIN).tolist() == [
        [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0],
    ]  # fmt: skip
    assert columns.encode(frame, ["b"], TRAIN).tolist() == [[0, 1], [1, 0], [0, 1], [0, 0], [1, 0]]
    # without missing values in the training part they are unknown too
    assert columns.encode(frame, ["a"], torch.tensor([0, 1]))[2].tolist() == [0, 0]
    with pytest.raises(ValueError, match="'a' has 3 categories, more than 2; exclude it"):
        Columns(limit=2).encode(frame, ["a"], TRAIN)


def test_columns_are_chosen_by_name():
    frame = pd.DataFrame(columns=["a", "b", "y", "g"])
    assert Columns().chosen(frame, ["y", "g"]) == ["a", "b"]
    assert Columns(exclude=["a"]).chosen(frame, ["y"]) == ["b", "g"]
    assert Columns(include=["g", "y", "a"]).chosen(frame, ["y", "g"]) == ["a", "g"]
    with pytest.raises(ValueError, match=r"no column 'c'; it has a, b, y, g"):
        Columns(exclude=["c"]).chosen(frame, ["y"])
    with pytest.raises(ValueError, match="No column"):
        Columns(include=["y"]).chosen(frame, ["y"])


def test_a_group_is_never_in_two_parts():
    groups = torch.tensor([0, 1, 2, 3, 4] * 4)
    stay, off = group_split(groups, 0.4, seed=0)
    assert len(groups[off].unique()) == 2
    assert not set(groups[off].tolist()) & set(groups[stay].tolist())
    assert torch.equal(torch.cat([stay, off]).sort()[0], torch.arange(20))
    assert torch.equal(off, group_split(groups, 0.4, seed=0)[1])
    assert group_split(groups, 0, seed=0)[1].tolist() == []
    with pytest.raises(ValueError, match="leaves none"):
        group_split(groups[:1], 0.1, seed=0)


NUMBERS = ["xmin", "ymin", "xmax", "ymax", "score", "lon_d", "lat_d"]


def trees(**options):
    columns = Columns(include=[*NUMBERS, "name"])
    return Table(TREES, "carbon", columns=columns, **options)


def test_the_trees_are_a_regression_split_by_site():
    data = ready(trees(split=Split(0.2, 0.2, group="img_name"), batch_size=64))
    frame = pd.read_csv(TREES)
    sites = frame["img_name"].nunique()
    assert sum(len(part) for part in data.sets.values()) == len(frame) == 4663
    rows = data.split.rows(len(frame), None, data.groups(frame))
    parts = [set(frame["img_name"][rows[part].numpy()]) for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [sites - 2, 1, 1]
    assert len(set.union(*parts)) == sites
    train = data.sets["train"]
    assert train.inputs.shape[1] == 7 + len(set(frame["name"][rows["train"].numpy()]))
    torch.testing.assert_close(train.inputs[:, :7].mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(train.targets.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        data.sets["test"].targets[:, 0].double() * data.std + data.mean,
        torch.from_numpy(frame["carbon"].to_numpy()[rows["test"].numpy()]),
        atol=1e-3, rtol=1e-5,
    )  # fmt: skip
    inputs, targets = next(iter(data.train_dataloader()))
    assert (inputs.dtype, targets.shape, targets.dtype) == (torch.float32, (64, 1), torch.float32)


def test_the_trees_are_a_classification():
    columns = Columns(include=NUMBERS)
    split = Split(test=0.25)
    data = ready(Table(TREES, "group", "classification", columns, split, inputs=7, classes=6))
    assert data.labels == sorted(pd.read_csv(TREES)["group"].unique())
    assert data.sets["test"].targets.dtype == torch.int64
    whole = torch.cat([part.targets for part in data.sets.values()]).bincount()
    assert (data.sets["test"].targets.bincount() / whole - 0.25).abs().max() < 0.02


def test_power_has_another_separator_and_missing_rows():
    columns = Columns(exclude=["Date", "Time"])
    data = ready(Table(POWER, "Global_active_power", columns=columns, inputs=6, separator=";"))
    assert sum(len(part) for part in data.sets.values()) == 37283
    x, y = data.sets["train"].inputs.double(), data.sets["train"].targets.double()
    # active power is nearly current times voltage, so a line explains nearly all of it
    fitted = x @ torch.linalg.lstsq(x, y).solution
    assert 1 - (fitted - y).square().sum() / y.square().sum() > 0.99


def test_an_epoch_continues_in_the_middle_and_the_test_order_is_fixed():
    def loader(seed=1):
        return ready(trees(batch_size=500, seed=seed)).train_dataloader()

    straight, again = loader(), loader()
    straight.sampler.set_epoch(1)
    batches = iter(straight)
    seen = [next(batches) for _ in range(2)]
    again.load_state_dict(straight.state_dict())
    for batch, other in zip(list(batches), list(again), strict=True):
        assert torch.equal(batch[0], other[0])
    other = loader(seed=2)
    other.sampler.set_epoch(1)
    assert not torch.equal(next(iter(other))[0], seen[0][0])
    tests = [next(iter(ready(trees(seed=seed)).test_dataloader()))[0] for seed in (1, 2)]
    assert torch.equal(*tests)


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no table None; pass path="):
        Table().prepare_data()
    with pytest.raises(ValueError, match=r"set inputs=(\d+) \(dataset\.inputs=\1 on"):
        trees(inputs=3).setup()
    file = tmp_path / "a.csv"
    file.write_text("a,y\n1,2\n2,\n3,4\n")
    with pytest.raises(ValueError, match=r"no column 'z' for the target; it has a, y"):
        Table(file, "z").setup()
    with pytest.raises(ValueError, match=r"no column 'g' for the group"):
        Table(file, "y", split=Split(group="g")).setup()
    data = ready(Table(file, "y", split=Split(0, 0)))
    assert len(data.sets["train"]) == 2  # a row without a target is left out
    with pytest.raises(ValueError, match="gives 2 classes and the network is built for 3"):
        Table(file, "y", "classification", classes=3, split=Split(0, 0)).setup()
    file.write_text("a,y\n1,red\n2,blue\n")
    with pytest.raises(ValueError, match=r"'y' is not a column of numbers; take task"):
        Table(file, "y", split=Split(0, 0)).setup()
    file.write_text("a,y\ninf,1\n2,3\n")
    with pytest.raises(ValueError, match="'a' has infinite values"):
        Table(file, "y", split=Split(0, 0)).setup()
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        Table(file, "y").setup()
    with pytest.raises(ValueError, match='"classification" or "regression"'):
        Table(file, "y", "ranking")
    with pytest.raises(ValueError, match=r"split\.test is a share"):
        Split(test=np.float64(1.0))
