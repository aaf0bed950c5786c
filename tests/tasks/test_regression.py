from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_prune.data import ResumableLoader
from lightning_prune.data.tensor_rows import TensorRows
from lightning_prune.tasks import Regression

SGD = partial(torch.optim.SGD, lr=0.1)


def trainer(epochs=1):
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def line(slope):
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, slope)
    nn.init.zeros_(net.bias)
    return net


def loader(inputs, targets, **options):
    rows = TensorRows(torch.tensor(inputs)[:, None], torch.tensor(targets)[:, None])
    return ResumableLoader(rows, **options)


def test_metrics_can_be_checked_by_hand():
    # predictions 1, 2, 3, 4, 5; targets have the mean 4
    data = loader([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 4.0, 3.0, 4.0, 8.0], batch_size=2)
    logged = trainer().test(Regression(line(1.0), SGD), data, verbose=False)[0]
    # errors 0, 2, 0, 0, 3; squared about the mean: 9, 0, 1, 0, 16
    assert logged["test/loss"] == pytest.approx(13 / 5)
    assert logged["test/mae"] == pytest.approx(5 / 5)
    assert logged["test/r2"] == pytest.approx(1 - 13 / 26)


def test_it_learns_and_names_its_metrics():
    inputs = torch.linspace(-1, 1, 40).tolist()
    data = loader(inputs, [3 * x for x in inputs], batch_size=10, shuffle=True)
    task, run = Regression(line(0.0), SGD), trainer(20)
    run.fit(task, data, data)
    assert set(run.callback_metrics) == {
        f"{part}/{name}" for part in ("train", "val") for name in ("loss", "mae", "r2")
    }
    assert run.callback_metrics["val/r2"] > 0.99
    assert (task.main_metric, task.direction) == ("mae", "min")


def test_r2_of_one_sample_is_not_a_number():
    logged = trainer().test(Regression(line(1.0), SGD), loader([1.0], [2.0]), verbose=False)[0]
    assert logged["test/r2"] != logged["test/r2"]
    assert logged["test/mae"] == 1


def test_shapes_that_would_broadcast_are_refused():
    task = Regression(line(1.0), SGD)
    for targets in (torch.zeros(4), torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"gives \(4, 1\) and the targets are"):
            task.training_step((torch.zeros(4, 1), targets), 0)
    with pytest.raises(ValueError, match='"epoch" or "step"'):
        Regression(line(1.0), SGD, interval="batch")
