"""One of two processes: everything that is asked of a pair, in one life of it."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import EPOCHS
from pytorch_lightning.callbacks import ModelCheckpoint
from subject import Data, Net, fit, images
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_prune import Method, OneShot, Pruning, Rewind
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import ActivationCriterion, Criterion, GradientCriterion, Magnitude
from lightning_prune.data import ResumableLoader
from lightning_prune.structures import Weights

PAIR = {"devices": 2, "strategy": "ddp"}


class Seen:
    """Scores by what was seen of the inputs or the weights; remembers what this process saw."""

    def reset(self) -> None:
        super().reset()
        self.own: dict[str, Tensor] = {}

    def record(self, layer: Any, value: Tensor) -> None:
        super().record(layer, value)
        self.own[layer.name] = self.seen[layer.name].clone()

    def score(self, layer: Any, structure: Any) -> Tensor:
        return structure.units(layer, layer.weight * self.weighed(layer)).norm(dim=1)

    def weighed(self, layer: Any) -> Tensor:
        seen = self.seen[layer.name]
        return seen if seen.shape == layer.weight.shape else seen.mean()


class InputSums(Seen, ActivationCriterion):
    """Sums of squares of a layer's inputs."""

    def observe(self, layer: Any, value: Tensor) -> None:
        self.record(layer, value.double().square().sum())


class LargestInputs(Seen, ActivationCriterion):
    """The largest input of a layer."""

    reduction = "max"

    def observe(self, layer: Any, value: Tensor) -> None:
        self.record(layer, value.abs().amax())


class Gradients(Seen, GradientCriterion):
    """Sums of gradients."""


class Failing(InputSums):
    """Cannot observe in the second process."""

    def observe(self, layer: Any, value: Tensor) -> None:
        if os.environ["LOCAL_RANK"] == "1":
            raise ArithmeticError("an input that is no number")
        super().observe(layer, value)


class Drawn(Criterion):
    """Scores that every process draws for itself."""

    def score(self, layer: Any, structure: Any) -> Tensor:
        return torch.rand(len(structure.units(layer, layer.weight)))


class Changing(Weights):
    """Says of itself that it replaces parameters."""

    changes_parameters = True


METHODS = {
    "magnitude": "magnitude",
    "filter_norm": "filter_norm",
    "none": "none",
    "rigl": "rigl",
    "set": "set",
    "drawn": Method(Drawn(), Weights(), Threshold()),
}
CRITERIA = {
    "sum": (InputSums, 8),
    "max": (LargestInputs, 8),
    "gradients": (Gradients, 8),
    "one batch": (InputSums, 1),  # fewer than there are processes
}


class Steady(Net):
    """Without dropout, so that processes need no random numbers of their own.

    Attributes:
        served: (epoch, numbers of the samples) of every batch, where they are numbered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net[3] = nn.Identity()
        self.served: list[Any] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if len(batch) == 3:
            self.served.append([self.current_epoch, batch[2].tolist()])
        return super().training_step(batch, batch_idx)


class Numbered(Data):
    """Samples with their numbers; the last batch of a process is not full."""

    def train_dataloader(self) -> ResumableLoader:
        dataset = TensorDataset(*images(72), torch.arange(72))
        return ResumableLoader(dataset, batch_size=16, shuffle=True)


def observing(criterion: type[Criterion], batches: int) -> Pruning:
    """A pruning by what a criterion sees before the first batch."""
    method = Method(criterion(), Weights(), Threshold())
    return Pruning(method, OneShot(0, keep=0.5), batches=batches, verbose=False)


def observed(pruning: Pruning, net: Net, **options: Any) -> dict[str, Any]:
    """What its criterion saw in all, and in this process."""
    run = fit(pruning, seed=None, net=net, data=Numbered(), max_epochs=1, **options)
    criterion = pruning.method.criterion
    return {"seen": criterion.seen, "own": criterion.own, **run}


def refused(pruning: Pruning, net: Net) -> list[Any]:
    try:
        fit(pruning, seed=None, net=net, **PAIR)
    except Exception as error:
        return [type(error).__name__, str(error), len(net.losses)]
    return ["nothing", "", len(net.losses)]


def life(rank: int, port: int, folder: Path) -> dict[str, Any]:
    """Everything, as process `rank` of two."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.pop("PL_GLOBAL_SEED", None)  # of whoever started the processes
    torch.seed()
    random.seed()
    np.random.seed()
    told: dict[str, Any] = {}
    for name, method in METHODS.items():
        pruning = Pruning(method, EPOCHS, rewind=Rewind(0, weights=True), verbose=False)
        told[name] = fit(pruning, seed=None, data=Data("noisy"), **PAIR)
    for name, (criterion, batches) in CRITERIA.items():
        told[name] = observed(observing(criterion, batches), Steady(), **PAIR)
    net = Steady()
    saver = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    told["straight"] = fit(tickets(), seed=0, data=Numbered(), net=net, callbacks=[saver], **PAIR)
    told["served"] = net.served
    for step in (2, 3, 5):
        file = folder / f"step={step}.ckpt"
        told[f"from {step}"] = fit(
            tickets(), seed=7, data=Numbered(), net=Steady(), resume=file, **PAIR
        )
    method = Method(Magnitude(), Changing(), Threshold())
    told["changing"] = refused(Pruning(method, OneShot(1, keep=0.5), verbose=False), Net())
    told["failing"] = refused(observing(Failing, 8), Net())
    torch.distributed.destroy_process_group()
    return told


def tickets() -> Pruning:
    return Pruning("random", EPOCHS, rewind=Rewind(0, weights=True), verbose=False)
