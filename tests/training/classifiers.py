"""Small classifiers, their data, and a quiet Trainer."""

from functools import partial

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SIZE = 287  # parameters of the perceptron
QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def perceptron():
    """8 inputs, 3 classes."""
    return nn.Sequential(
        nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6), nn.Linear(6, 3)
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 3),
    )  # fmt: skip


class Learner:
    """What training needs, whichever package the base class comes from."""

    def __init__(self, net=None, optimizer=None):
        super().__init__()
        self.net = net if net is not None else perceptron()
        self.optimizer = optimizer or partial(torch.optim.SGD, lr=0.05, momentum=0.9)

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


class Classifier(Learner, pl.LightningModule):
    def forward(self, x):
        return self.net(x)


class Scored(Classifier):
    """With validation and test."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", F.cross_entropy(self.net(batch[0]), batch[1]))


def samples(count=64, shape=(8,)):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(count, *shape, generator=draw)
    return TensorDataset(x, x.flatten(1)[:, :3].argmax(1))


def loader(count=64, shape=(8,), batch_size=16, **options):
    return DataLoader(samples(count, shape), batch_size=batch_size, **options)


def trainer(*callbacks, **options):
    return pl.Trainer(callbacks=list(callbacks), **{**QUIET, "max_epochs": 3, **options})


def fit(module, *callbacks, data=None, **options):
    """Train, with validation where the module has one; the Trainer."""
    run = trainer(*callbacks, **options)
    scored = [loader(32)] if isinstance(module, Scored) else []
    run.fit(module, data if data is not None else loader(), *scored)
    return run


def nonzero(tensors):
    return sum(int(t.count_nonzero()) for t in tensors)


class Probe(pl.Callback):
    """Calls a function of trainer and module in one hook and keeps what it returned."""

    def __init__(self, hook, look):
        self.seen = []
        setattr(self, hook, lambda trainer, module, *_: self.seen.append(look(trainer, module)))
