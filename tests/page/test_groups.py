"""Groups and curves: what is drawn on one axis, how it is named, and what is averaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import DENSE, KEEPS, report, write

from lightning_prune.cli import identity
from lightning_prune.page import config
from lightning_prune.page.config import dense_part, pruning_part, shown
from lightning_prune.page.curves import frame, spread
from lightning_prune.page.groups import differing, find_groups, telling
from lightning_prune.page.reading import read_runs
from lightning_prune.page.record import Record


def records(root: Path, *reports: dict) -> list[Record]:
    for number, made in enumerate(reports):
        write(root / f"{number:02}", made)
    return read_runs([root]).records


@pytest.mark.parametrize(
    "changes",
    [
        {"data__batch_size": 32},
        {"model__depth": 20},
        {"epochs": 20},
        {"task__label_smoothing": 0.1},
        {"optim__optimizer__lr": 0.2},
        {"data__augment__pad": 4},
        {"metric": "test/nll"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_dense_training_is_another_group(tmp_path: Path, changes: dict):
    groups = find_groups(records(tmp_path, report(), report(**changes)))
    assert [len(group.records) for group in groups] == [1, 1]
    assert differing([group.facts for group in groups])
    assert groups[0].title != groups[1].title


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"method": "random"},
        {"schedule__keeps": [0.3]},
        {"schedule__first": 2},
        {"measure": "macs"},
        {"name": "other"},
        {"logger__csv__name": "x"},
        {"data__workers": 4},
        {"trainer__accelerator": "cuda"},
        {"evaluation__images": 10},
        {"recalibrate": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_pruning_seeds_and_outputs_make_no_group(tmp_path: Path, changes: dict):
    assert len(find_groups(records(tmp_path, report(), report(**changes)))) == 1


def test_what_identity_leaves_out_is_left_out_here():
    assert config.PRUNING | config.BESIDES >= identity.PRUNING


def test_what_differs_is_said_by_key(tmp_path: Path):
    made = (report(), report(model__depth=20, data__augment={"_target_": "a.b.Crop", "pad": 4}))
    groups = find_groups(records(tmp_path, *made))
    table = differing([group.facts for group in groups])
    assert table == {
        "data.augment._target_": [None, "a.b.Crop"],
        "data.augment.pad": [None, 4],
        "model.depth": [8, 20],
    }
    # of another class not its settings
    assert telling(table) == ["data.augment._target_", "model.depth"]
    assert groups[1].title == (
        "digits · Crop pad 4 · ResNet depth 20, widths [8, 16] · 12 epochs · test/accuracy"
    )


def test_titles_that_would_be_alike_say_the_difference(tmp_path: Path):
    made = (report(), report(optim__optimizer__lr=0.2))
    titles = [group.title for group in find_groups(records(tmp_path, *made))]
    assert [title.rpartition(" (")[2] for title in titles] == [
        "optim.optimizer.lr=0.1)",
        "optim.optimizer.lr=0.2)",
    ]


def test_without_a_config_networks_are_known_by_their_size(tmp_path: Path):
    made = [report() | {"config": {}}, report(seed=1) | {"config": {}}]
    other = report() | {"config": {}}
    other["dense"]["params"] = 7
    groups = find_groups(records(tmp_path, *made, other))
    assert [len(group.records) for group in groups] == [2, 1]


def test_curves_of_one_method_are_told_apart_by_what_differs(tmp_path: Path):
    made = (
        report("magnitude"),
        report("random"),
        report("random", batches=32),
        report("random", batches={"_target_": "lightning_prune.Samples", "share": 0.1}),
        report("random", batches=32, hold=False),
    )
    (group,) = find_groups(records(tmp_path, *made))
    assert [curve.label for curve in group.curves] == [
        "magnitude",
        "random, batches=32, hold=False",
        "random, batches=32, hold=True",
        "random, batches=8, hold=True",
        "random, batches=Samples, hold=True",
    ]


def test_settings_are_flat_and_without_the_machine():
    made = {
        "seed": 1, "epochs": 3, "thin": False, "flatness": 5,
        "data": {"_target_": "a.b.C", "_convert_": "all", "root": "${oc.env:X}", "workers": 2},
        "model": {"path": "folder/net.pt", "net": {"seed": 3, "size": [1, 2.5]}},
        "method": {"structure": {"clean": True}}, "schedule": {"keep": 0.1, "first": 2},
    }  # fmt: skip
    assert dense_part(made) == {
        "epochs": 3,
        "data._target_": "a.b.C",
        "model.path": "net.pt",
        "model.net.size": [1, 2.5],
    }
    assert pruning_part(made) == {"method.structure.clean": True, "schedule.first": 2}


def test_settings_are_written_short():
    told = [shown(value) for value in (None, "a.b.Net", 0.1, "1.5", "x.y z", [1, "a.B"], {"k": 1})]
    assert told == ["\N{EN DASH}", "Net", "0.1", "1.5", "x.y z", "[1, B]", "{k: 1}"]


def test_the_band_is_students(tmp_path: Path):
    made = [report("magnitude", seed) for seed in range(3)]
    for run, value in zip(made, (0.1, 0.2, 0.3), strict=True):
        run["events"][0]["metrics"]["test/accuracy"] = value
    (group,) = find_groups(records(tmp_path, *made))
    rows = frame(group.curves)
    table = spread(rows, "metric").set_index("keep_target").loc[KEEPS[0]]
    # t of two degrees of freedom is 4.303 at 97.5 %
    assert table["mean"] == pytest.approx(0.2)
    assert table["high"] - table["mean"] == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
    assert table["n"] == 3


def test_one_seed_has_no_band(tmp_path: Path):
    (group,) = find_groups(records(tmp_path, report()))
    table = spread(frame(group.curves), "metric")
    assert table[["std", "low", "high"]].isna().all(axis=None)
    assert (table["n"] == 1).all()


def test_the_difference_is_to_the_runs_own_control(tmp_path: Path):
    one, other = report(seed=0), report(seed=1)
    for event in other["events"]:
        event["control"] = {"test/accuracy": 0.5}
    (group,) = find_groups(records(tmp_path, one, other))
    rows = frame(group.curves)
    lost = rows["metric"] - rows["difference"]
    assert lost[rows["seed"] == 0].tolist() == pytest.approx([DENSE + 0.01] * 3)
    assert lost[rows["seed"] == 1].tolist() == pytest.approx([0.5] * 3)


def test_a_schedule_of_many_events_is_one_point_a_run(tmp_path: Path):
    keeps = tuple(1 - 0.01 * number for number in range(1, 60))
    (group,) = find_groups(records(tmp_path, report(keeps=keeps), report("random")))
    sizes = frame(group.curves).groupby("curve").size()
    assert sizes.to_dict() == {"magnitude": 1, "random": 3}
