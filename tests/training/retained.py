"""Memory: what a pruning run keeps in tensors, seen by the garbage collector."""

from __future__ import annotations

import gc

import pytorch_lightning as pl
import torch
from subject import QUIET
from torch import nn
from torch.utils.data import TensorDataset

from lightning_prune import Geometric, Pruning, Rewind
from lightning_prune.data import ResumableLoader


class Wide(pl.LightningModule):
    """A perceptron of a million weights, and an optimizer without state.

    Attributes:
        retained: Bytes of all tensors of the process in the first and in the last epoch, without
            gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 960), nn.ReLU(), nn.Linear(960, 960), nn.ReLU(), nn.Linear(960, 64)
        )
        self.retained: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self(batch[0]).square().mean()

    def on_train_batch_end(self, *_: object) -> None:
        for parameter in self.parameters():
            parameter.grad = None
        if self.current_epoch in (0, self.trainer.max_epochs - 1):
            self.retained.append(tensor_bytes())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def tensor_bytes() -> int:
    """Bytes of all storages that are alive, each counted once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def measure(method: str, rewind: Rewind | None) -> dict[str, float]:
    """Bytes of the parameters, and of all tensors before the first and after the tenth event."""
    events = Geometric(first=1, every=1, events=10, keep=0.1)
    pruning = Pruning(method, events, rewind=rewind, verbose=False)
    module = Wide()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=12, callbacks=[pruning], enable_checkpointing=False, **QUIET
    )
    trainer.fit(module, ResumableLoader(TensorDataset(torch.randn(16, 64)), batch_size=16))
    return {
        "events": len(pruning.events),
        "parameters": 4 * sum(p.numel() for p in module.parameters()),
        "before": module.retained[0],
        "after": module.retained[-1],
    }
