"""A training with everything in it that a resume can get wrong, and what is left of it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_prune import Pruning
from lightning_prune.data import CropFlip, ResumableLoader, TensorImages

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Net(pl.LightningModule):
    """Dropout, batch norm, momentum, and a cosine that restarts every five steps.

    Attributes:
        losses: (epoch, batch, loss, rate) of every batch trained by this object.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2),
            nn.MaxPool2d(2), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4),
        )  # fmt: skip
        self.losses: list[tuple[int, int, float, float]] = []
        self.before = 0  # batches that were trained before this object

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.losses.append((self.current_epoch, batch_idx, loss.item(), rate))
        self.log("train_loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]), batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches"] = self.before + len(self.losses)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.before = checkpoint["batches"]


class Noisy(Dataset):
    """Samples that draw from the global streams of torch, numpy and python when they are read."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index] + 0.1 * torch.randn(1)
        if random.random() < 0.5:
            image = image.flip(-1)
        return image.roll(int(np.random.randint(3)), -1), self.labels[index]


def images(count: int = 64) -> tuple[Tensor, Tensor]:
    """Four classes of noisy patterns; the same in every process."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 4
    patterns = torch.randn(4, 1, 8, 8, generator=draw)
    return patterns[labels] + torch.randn(count, 1, 8, 8, generator=draw), labels


class Data(pl.LightningDataModule):
    """Batches of 16, in one of three ways.

    Arguments:
        kind: `pure` (augmentation that is a function of the epoch), `noisy` (that draws from the
            global streams), both resumable; or `plain`, torch's own loader of the noisy ones.
        workers: Of the training loader.
        count: Training samples.
    """

    def __init__(self, kind: str = "pure", workers: int = 0, count: int = 64) -> None:
        super().__init__()
        self.kind, self.workers, self.count = kind, workers, count

    def train_dataloader(self) -> DataLoader:
        if self.kind == "pure":
            dataset: Dataset = TensorImages(*images(self.count), augment=CropFlip(1, True))
        else:
            dataset = Noisy(*images(self.count))
        loader = DataLoader if self.kind == "plain" else ResumableLoader
        return loader(dataset, batch_size=16, shuffle=True, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        return ResumableLoader(TensorImages(*images(32)), batch_size=16)


class Watch(pl.Callback):
    """The weights right after every event; it stands behind `Pruning` in the list."""

    def __init__(self, pruning: Pruning) -> None:
        self.pruning, self.seen = pruning, 0
        self.weights: dict[str, dict[str, Tensor]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen = len(self.pruning.events)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if len(self.pruning.events) > self.seen:
            self.seen = len(self.pruning.events)
            self.weights[str(self.seen)] = {
                name: tensor.clone() for name, tensor in pl_module.state_dict().items()
            }


def fit(
    pruning: Pruning,
    *,
    seed: int | None,
    data: pl.LightningDataModule | None = None,
    resume: Path | None = None,
    callbacks: Sequence[pl.Callback] = (),
    net: pl.LightningModule | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train, and say what is left of the run in tensors, numbers, strings, lists and dicts."""
    if seed is not None:
        pl.seed_everything(seed, verbose=False)
    net, watch = net or Net(), Watch(pruning)
    initial = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[pruning, watch, *callbacks],
        enable_checkpointing=bool(callbacks),
        num_sanity_val_steps=options.pop("num_sanity_val_steps", 1),
        **QUIET,
        **{"max_epochs": 5, **options},
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(net, datamodule=data or Data(), ckpt_path=resume)
    state = pruning.state_dict()
    return {
        "initial": initial,
        "weights": net.state_dict(),
        "masks": state["masks"],
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "position": [state["last"], state["steps"], state["stepped"], trainer.global_step],
        "snapshot": state["snapshot"],
        "random": state["random"],
        "events": [{**event, "seconds": 0.0} for event in pruning.events],
        "after": watch.weights,
        "losses": getattr(net, "losses", []),
        "warnings": [str(warning.message) for warning in told],
    }


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """The places at which two results are not the same to the last bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [path]
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            return [f"{path} (names)"]
        return [d for key in one for d in differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [f"{path} (length)"]
        pairs = zip(one, other, strict=True)
        return [d for i, (a, b) in enumerate(pairs) for d in differences(a, b, f"{path}.{i}")]
    return [] if type(one) is type(other) and one == other else [path]
