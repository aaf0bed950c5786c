"""Two processes, one of which measures: both count in its tables, and leave the same network."""

from __future__ import annotations

import os
import socket

import clocks
import pytest
from processes import in_new_processes
from subject import Data, Net, differences, fit
from torch import distributed

from lightning_prune import OneShot, Pruning, clock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.multiprocess,
    pytest.mark.skipif(
        not (distributed.is_available() and distributed.is_gloo_available()),
        reason="torch has no gloo to connect processes with",
    ),
]


def life(rank, port):
    """A fit as process `rank`, whose clock is slower by its number."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    measured = []

    def fastest(sides, rounds, device):
        measured.append(len(sides))
        return [(rank + 1) * seconds + rank * 1e-3 for seconds in clocks.fastest(sides)]

    clock.fastest = fastest
    pruning = Pruning("filter_norm", OneShot(1, keep=0.5), measure="latency", verbose=False)
    run = fit(
        pruning, seed=0, data=Data(), net=Net(), max_epochs=2, devices=2, strategy="ddp",
        num_sanity_val_steps=0,
    )  # fmt: skip
    tables = pruning.state_dict()["latency"]
    distributed.destroy_process_group()
    told = {name: run[name] for name in ("masks", "weights", "events")}
    return told | {"tables": tables, "measured": measured}


def test_both_count_in_the_tables_of_the_first(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one, other = in_new_processes([(life, rank, port) for rank in (0, 1)], tmp_path)
    assert one["measured"]
    assert other["measured"] == []
    assert one["tables"] == other["tables"]
    for name in ("masks", "weights"):
        assert differences(one[name], other[name]) == [], name
    assert [event["left"] for event in one["events"]] == [e["left"] for e in other["events"]]
