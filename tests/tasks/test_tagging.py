import math
import os
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_prune.data import UniversalDependencies
from lightning_prune.tasks import Tagging

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))
ADAM = partial(torch.optim.Adam, lr=0.01)


def net(words, classes):
    return nn.Sequential(nn.Embedding(words, 16), nn.Linear(16, classes))


def test_padding_counts_in_no_metric():
    table = nn.Embedding(3, 2)  # number 1 says class 0, number 2 says class 1, each by 2 : 1
    table.weight.data = torch.tensor([[9.0, -9.0], [math.log(2), 0], [0, math.log(2)]])
    task = Tagging(table, ADAM, classes=2)
    ids = torch.tensor([[1, 2, 2, 1], [1, 0, 0, 0]])
    tags = torch.tensor([[0, 1, 0, 0], [1, -100, -100, -100]])
    loss = task.test_step((ids, tags), 0)
    # three right words at 2/3 and two wrong ones at 1/3
    expected = -(3 * math.log(2 / 3) + 2 * math.log(1 / 3)) / 5
    assert loss.item() == pytest.approx(expected)
    # batches count by their words
    task.test_step((ids[:1, :1], tags[:1, :1]), 1)
    assert task.metric("test", "accuracy").compute().item() == pytest.approx(4 / 6)
    assert task.metric("test", "loss").compute().item() == pytest.approx(
        (5 * expected - math.log(2 / 3)) / 6
    )


def test_it_learns_real_sentences():
    data = UniversalDependencies(ROOT, subset="small", vocabulary=2000, batch_size=32)
    run = pl.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    task = Tagging(net(2000, 17), ADAM)
    run.fit(task, data)
    # nouns, the most frequent class, are less than a fifth
    assert run.callback_metrics["val/accuracy"] > 0.4
    assert set(run.test(task, data, verbose=False)[0]) == {"test/loss", "test/accuracy"}
    assert (task.main_metric, task.direction) == ("accuracy", "max")


def test_bad_input_is_refused():
    batch = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"logits of \(2, 3, 5\).*got \(2, 3, 4\).* classes=5"):
        Tagging(net(3, 4), ADAM, classes=5).training_step(batch, 0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        Tagging(net(3, 4), ADAM, classes=1)
