"""Two processes that look at a part of the samples each select what one process selects."""

import os
import socket

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from processes import in_new_processes
from subject import differences, fit, images
from torch import distributed, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import OneShot, Pruning, Samples, methods
from lightning_prune.criteria import DataCriterion, SyntheticCriterion

pytestmark = [
    pytest.mark.slow,
    pytest.mark.multiprocess,
    pytest.mark.skipif(
        not (distributed.is_available() and distributed.is_gloo_available()),
        reason="torch has no gloo to connect processes with",
    ),
]

CRITERIA = {name: method.criterion for name, method in methods().items() if method}
# those that replace parameters are refused with several processes
INFORMED = sorted(
    name
    for name, found in CRITERIA.items()
    if isinstance(found, DataCriterion) and not methods()[name].structure.changes_parameters
)


class Exact(pl.LightningModule):
    """In float64, in which sums in another order agree in all digits that decide."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(32, 12), nn.ReLU(), nn.Linear(12, 4),
        ).double()  # fmt: skip
        nn.init.uniform_(self.net[1].weight, 0.5, 1.5)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


class Doubles(pl.LightningDataModule):
    """Batches of 10, in an order that depends on the process."""

    def train_dataloader(self):
        x, y = images(48)
        return DataLoader(TensorDataset(x.double(), y), 10, shuffle=True)


def selected(name, seed, **options):
    """What an event before the first batch observed, and what it left.

    24 samples are looked at, in three batches: 16 of them by one process, 8 by the other.
    """
    pruning = Pruning(name, OneShot(0, keep=0.45), batches=Samples(24), verbose=False)
    criterion, looked = pruning.method.criterion, []

    def observe(layer, *values):
        looked.append(layer.name)
        type(criterion).observe(criterion, layer, *values)

    object.__setattr__(criterion, "observe", observe)  # some are frozen
    run = fit(
        pruning, seed=None, net=Exact(seed), data=Doubles(), max_epochs=1, precision="64-true",
        num_sanity_val_steps=0, limit_train_batches=1, **options,
    )  # fmt: skip
    assert [event["epoch"] for event in run["events"]] == [0]
    return {
        "initial": run["initial"],
        "batches": looked.count("net.0"),
        "seen": criterion.seen,
        "masks": run["masks"],
        "weights": run["after"]["1"],
        "keep": run["events"][0]["keep"],
    }


def life(rank, port):
    """Every method, as process `rank` of two that begin with weights of their own."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.pop("PL_GLOBAL_SEED", None)  # of whoever started the processes
    told = {name: selected(name, seed=rank, devices=2, strategy="ddp") for name in INFORMED}
    distributed.destroy_process_group()
    return told


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What the two processes tell."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("informed")
    return in_new_processes([(life, rank, port) for rank in (0, 1)], folder)


def test_the_methods_that_are_informed_by_data_are_among_them():
    assert set(INFORMED) >= {"sipp", "sipp_rand", "sipp_hybrid", "snip", "pfp", "thinet", "wanda"}


@pytest.mark.parametrize("name", INFORMED)
def test_both_select_the_same(pair, name):
    one, other = (told[name] for told in pair)
    assert not torch.equal(one["initial"]["net.0.weight"], other["initial"]["net.0.weight"])
    for key in ("seen", "masks", "weights", "keep"):
        assert differences(one[key], other[key]) == [], key


@pytest.mark.parametrize("name", INFORMED)
def test_they_select_what_one_process_selects_of_the_same_samples(pair, name):
    one, other = (told[name] for told in pair)
    alone = selected(name, seed=0, devices=1)
    assert differences(one["initial"], alone["initial"]) == []
    assert alone["masks"]
    assert differences(one["masks"], alone["masks"]) == []
    assert one["keep"] == alone["keep"]
    assert 0.35 < alone["keep"] <= 0.45
    synthetic = isinstance(CRITERIA[name], SyntheticCriterion)
    batches = [told["batches"] for told in (one, other, alone)]
    assert batches == ([1, 1, 1] if synthetic else [2, 1, 3])
    # every process looks at the same synthetic input, which changes the scale alone
    for key in ("weights",) if synthetic else ("weights", "seen"):
        assert list(one[key]) == list(alone[key])
        for tensor, wanted in zip(one[key].values(), alone[key].values(), strict=True):
            torch.testing.assert_close(tensor, wanted, rtol=1e-9, atol=1e-12)
            assert torch.equal(tensor != 0, wanted != 0)
