"""Latency tables: exact where they were measured, straight between, and never falling."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch import nn

from lightning_prune import LatencyTables
from lightning_prune.network.latency import Table

TABLE = Table((0, 2, 4), (0, 3, 6), ((0, 0, 0), (0, 10, 30), (0, 20, 71)))


def test_the_measured_sizes_cost_what_was_measured():
    grid = [[TABLE(row, column) for column in TABLE.columns] for row in TABLE.rows]
    assert grid == [list(row) for row in TABLE.nanoseconds]
    assert TABLE.dense == 71


def test_between_them_it_is_bilinear_and_rounded_down():
    assert TABLE(3, 3) == 15
    assert TABLE(2, 4) == 10 + 20 // 3
    assert TABLE(1, 1) == 10 * 1 * 1 // (2 * 3)
    assert TABLE(3, 5) == (10 + 2 * 30 + 20 + 2 * 71) // 6


def test_a_product_of_sizes_is_exact():
    table = Table((0, 7), (0, 5), ((0, 0), (0, 7 * 5 * 9)))
    for row, column in itertools.product(range(8), range(6)):
        assert table(row, column) == 9 * row * column


def test_it_never_falls():
    draw = torch.Generator().manual_seed(3)
    steps = torch.randint(0, 1000, (5, 4), generator=draw)
    steps[0], steps[:, 0] = 0, 0
    grid = steps.cumsum(0).cumsum(1).tolist()
    table = Table((0, 1, 5, 11, 13), (0, 4, 5, 12), tuple(map(tuple, grid)))
    costs = torch.tensor([[table(row, column) for column in range(13)] for row in range(14)])
    assert (costs.diff(dim=0) >= 0).all()
    assert (costs.diff(dim=1) >= 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        ((0, 2), (0, 3), ((0, 0), (0, 1), (0, 2))),
        ((1, 2), (0, 3), ((0, 0), (0, 1))),
        ((0, 2, 2), (0, 3), ((0, 0), (0, 1), (0, 2))),
        ((0, 2, 3), (0, 3), ((0, 0), (0, 2), (0, 1))),
        ((0, 2), (0, 3), ((0, 5), (0, 6))),
    ],
)
def test_other_numbers_are_no_table(wrong):
    with pytest.raises(ValueError, match="table"):
        Table(*wrong)


def tables() -> LatencyTables:
    norm = Table((0, 4), (0, 1), ((0, 0), (0, 8)))
    return LatencyTables((TABLE, norm), {"0": (0, 0), "1": (1,)}, rest=100, batch=2, threads=3)


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU())


def test_a_network_costs_its_rest_and_its_layers_uses():
    found = tables()
    assert found.dense == 100 + 2 * 71 + 8
    assert found.of(net()) == found.dense
    assert found.of(net(2)) == 100 + 2 * 30 + 4
    assert found.cost("0", [3, 3]) == 2 * 15
    assert found.cost("2", [3, 3]) == 0


def test_tables_are_saved_and_loaded(tmp_path):
    found = tables()
    found.save(tmp_path / "tables.json")
    loaded = LatencyTables.load(tmp_path / "tables.json")
    assert loaded.to_dict() == found.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert loaded.of(net(3)) == found.of(net(3))
    torch.save({"state": found.to_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)["state"]
    assert LatencyTables.from_dict(state).to_dict() == found.to_dict()


def test_what_is_no_file_of_tables_is_said(tmp_path):
    (tmp_path / "a.json").write_text('{"rest": 3}')
    (tmp_path / "b.json").write_text("{")
    for name in ("a.json", "b.json"):
        with pytest.raises(ValueError, match=f"{name} holds no latency tables"):
            LatencyTables.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        LatencyTables.load(tmp_path / "c.json")


def test_tables_of_another_network_are_refused():
    tables().check(net(3))
    with pytest.raises(ValueError, match="its layer '0' is wider here"):
        tables().check(net(5))
    with pytest.raises(ValueError, match="its layer '0' is missing here"):
        tables().check(nn.Sequential())
