"""Training on each kind of data resumes in mid-epoch to the bits of the uninterrupted run."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from lightning_prune.data import (
    CIFAR10,
    Columns,
    CropFlip,
    ImageFolder,
    Split,
    Table,
    UniversalDependencies,
)
from lightning_prune.tasks import Classification, Regression, Tagging

# resumed without the callback that wrote the checkpoints, on purpose
pytestmark = pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))
SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def cifar(folder):
    data = CIFAR10(ROOT, subset="small", batch_size=64, augment=CropFlip(4, True))
    return data, Classification(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), SGD)


def images(folder):
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        for number in range(10):
            pixels = draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    options = {"batch_size": 3, "augment": CropFlip(1, True), "split": Split(0.2, 0.2)}
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    return ImageFolder(folder / "images", size=6, **options), Classification(net, SGD, classes=2)


def table(folder):
    columns = Columns(include=["xmin", "ymin", "score"])
    path = ROOT / "reforestree" / "mapping" / "final_dataset.csv"
    data = Table(path, "carbon", columns=columns, batch_size=700)
    return data, Regression(nn.Linear(3, 1), SGD)


def text(folder):
    data = UniversalDependencies(ROOT, subset="small", vocabulary=100, batch_size=80)
    return data, Tagging(nn.Sequential(nn.Embedding(100, 4), nn.Linear(4, 17)), SGD)


def fit(kind, folder, seed=0, checkpoint=None):
    torch.manual_seed(seed)
    data, task = kind(folder)
    saver = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=checkpoint is None,
        callbacks=[] if checkpoint else [saver], num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, data, ckpt_path=checkpoint)
    return task.net.state_dict(), trainer.num_training_batches


@pytest.mark.parametrize("kind", [cifar, images, table, text])
def test_a_run_resumed_in_mid_epoch_is_the_uninterrupted_one(kind, tmp_path):
    straight, batches = fit(kind, tmp_path)
    assert batches >= 4
    # in the first and in the second epoch
    for step in (2, batches + 3):
        resumed, _ = fit(kind, tmp_path, seed=7, checkpoint=tmp_path / f"step={step}.ckpt")
        assert all(torch.equal(straight[name], resumed[name]) for name in straight)
