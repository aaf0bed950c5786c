"""A cascade on a flow: resumed, it is the uninterrupted one to the last bit, and so are two."""

import os
import socket
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from processes import in_new_processes
from pytorch_lightning.callbacks import ModelCheckpoint
from subject import QUIET, differences, fit
from torch import distributed

from lightning_prune import Grid, Pruning, Rewind
from lightning_prune.data import Planar
from lightning_prune.models import CNF, MLPField
from lightning_prune.solve import Solver
from lightning_prune.tasks import Density

SAME = ("weights", "masks", "optimizers", "schedulers", "position", "random")
# 48 points, three batches an epoch; the dense phase and two cycles of two epochs each
CASCADE = Grid(2, 2, [0.6, 0.3])
PAIR = {"devices": 2, "strategy": "ddp", "num_sanity_val_steps": 0, "limit_val_batches": 0}


def planar():
    return Planar(samples=54, batch_size=16)


def flow(trace):
    """A stochastic trace has one probe for every solve, drawn from the global stream."""
    net = CNF(MLPField(hidden=[6, 6]), solver=Solver(steps=2), trace=trace)
    rates = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8)
    return Density(net, partial(torch.optim.AdamW, lr=0.02), rates)


def cascade(method="magnitude_clean", trace="rademacher", **options):
    """A whole run, or the rest of one; what is left of it."""
    task = flow(trace)
    pruning = Pruning(method, CASCADE, rewind=Rewind(0), verbose=False)
    told = fit(pruning, net=task, data=planar(), max_epochs=6, **options)
    return told | {"task": task}


def scores(told):
    """The metrics of the test set."""
    trainer = pl.Trainer(accelerator="cpu", devices=1, enable_checkpointing=False, **QUIET)
    (metrics,) = trainer.test(told["task"], datamodule=planar(), verbose=False)
    return {name: float(value) for name, value in metrics.items()}


@pytest.fixture(scope="module", params=["magnitude_clean", "taylor"])
def straight(request, tmp_path_factory):
    """An uninterrupted run, its test metrics, and its checkpoints: of every step and epoch."""
    folder = tmp_path_factory.mktemp("straight")
    keep = {"dirpath": folder, "save_top_k": -1}
    steps = ModelCheckpoint(filename="{step}-step", every_n_train_steps=1, **keep)
    ends = ModelCheckpoint(filename="{step}-end", save_on_train_epoch_end=True, **keep)
    told = cascade(request.param, seed=0, callbacks=[steps, ends])
    return request.param, folder, told, scores(told)


def test_a_cascade_has_its_events_and_its_probes_are_drawn(straight):
    method, _, told, metrics = straight
    assert [(event["epoch"], event["step"]) for event in told["events"]] == [(2, 6), (4, 12)]
    assert [event["keep"] for event in told["events"]] == sorted(
        (event["keep"] for event in told["events"]), reverse=True
    )
    assert told["events"][1]["left"] <= 0.3 * told["events"][1]["dense"]
    assert metrics["test/nll"] == metrics["test/loss"] > 0
    again = cascade(method, seed=1)
    assert differences(told["weights"], again["weights"]) != []


@pytest.mark.parametrize("file", ["step=12-end", "step=15-end", "step=13-step", "step=14-step"])
def test_resumed_in_the_last_cycle_it_ends_to_the_same_bits(straight, file):
    """At the end of an epoch just before the event and behind it, and within an epoch."""
    method, folder, told, metrics = straight
    resumed = cascade(method, seed=7, resume=folder / f"{file}.ckpt")
    for key in SAME:
        assert differences(told[key], resumed[key]) == [], key
    kept = [[(e["step"], e["left"], e["keep"]) for e in run["events"]] for run in (told, resumed)]
    assert kept[0] == kept[1]
    assert scores(resumed) == metrics
    assert not any("no state_dict" in text for text in resumed["warnings"])


def test_resumed_in_the_dense_phase_it_ends_to_the_same_bits(straight):
    method, folder, told, metrics = straight
    resumed = cascade(method, seed=7, resume=folder / "step=4-step.ckpt")
    for key in SAME:
        assert differences(told[key], resumed[key]) == [], key
    for number, weights in resumed["after"].items():
        assert differences(told["after"][number], weights) == [], number
    assert scores(resumed) == metrics


def life(rank, port, folder):
    """A cascade as process `rank` of two, and resumed from the middle of its last cycle."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.pop("PL_GLOBAL_SEED", None)  # of whoever started the processes
    torch.seed()
    saver = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    told = {"own": cascade(seed=None, **PAIR)}
    # only the first process's random stream is in a checkpoint, so nothing is drawn here
    told["straight"] = cascade(trace="exact", seed=0, callbacks=[saver], **PAIR)
    told["resumed"] = cascade(trace="exact", seed=7, resume=folder / "step=9.ckpt", **PAIR)
    distributed.destroy_process_group()
    for run in told.values():
        del run["task"]
    return told


@pytest.mark.multiprocess
@pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()),
    reason="torch has no gloo to connect processes with",
)
@pytest.mark.slow
def test_two_processes_agree_and_resume_to_the_same_bits(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one, other = in_new_processes([(life, rank, port, tmp_path) for rank in (0, 1)], tmp_path)
    for run in ("own", "straight", "resumed"):
        assert [event["epoch"] for event in one[run]["events"]] == [2, 4]
        for key in ("weights", "masks", "optimizers", "schedulers", "position", "after"):
            mine, theirs = (without_metrics(told[run][key]) for told in (one, other))
            assert differences(mine, theirs) == [], (run, key)
    for told in (one, other):
        for key in ("weights", "masks", "optimizers", "schedulers", "position"):
            mine, theirs = (without_metrics(told[run][key]) for run in ("straight", "resumed"))
            assert differences(mine, theirs) == [], key
    assert differences(one["own"]["weights"], one["straight"]["weights"]) != []


def without_metrics(value):
    """Sums of a metric belong to a process until they are logged."""
    if not isinstance(value, dict):
        return value
    return {k: without_metrics(v) for k, v in value.items() if not str(k).startswith("metrics.")}
