"""What pruning retains after ten events, in memory and in a checkpoint, in units of the weights."""

from __future__ import annotations

import gc
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
import torch.nn.utils.prune as torch_prune
from timing import table
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Geometric, Pruning, Rewind

EVENTS, KEEP = 10, 0.1
TARGETS = {"plain": 2.1, "rewound": 3.1, "checkpoint": 1 / 24}


def model() -> nn.Module:
    """2.4 million parameters."""
    return nn.Sequential(
        nn.Linear(784, 1500), nn.ReLU(), nn.Linear(1500, 800), nn.ReLU(), nn.Linear(800, 10)
    )


def weight_bytes(net: nn.Module) -> int:
    """Of all parameters."""
    return sum(p.numel() * p.element_size() for p in net.parameters())


def tensor_bytes() -> int:
    """Of all storages that a tensor of this process holds."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


class Module(pl.LightningModule):
    """Plain descent, so that the optimizer holds no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Weigh(pl.Callback):
    """Bytes of all tensors at the end of the last epoch, gradients left out."""

    bytes = 0

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == EVENTS:
            module.zero_grad(set_to_none=True)
            self.bytes = tensor_bytes()


def train(*callbacks: pl.Callback) -> tuple[float, float]:
    """Retained tensors over the weights, and bytes of a checkpoint over those of the weights."""
    torch.manual_seed(0)
    before = tensor_bytes()
    data = TensorDataset(torch.randn(8, 784), torch.randint(0, 10, (8,)))
    module, weigh = Module(), Weigh()
    trainer = pl.Trainer(
        max_epochs=EVENTS + 1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, weigh],
    )
    trainer.fit(module, DataLoader(data, batch_size=8))
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_checkpoint(Path(folder) / "a.ckpt")
        saved = (Path(folder) / "a.ckpt").stat().st_size
    size = weight_bytes(module)
    return (weigh.bytes - before) / size, saved / size


def torchs() -> float:
    """The same after ten calls of `global_unstructured`."""
    before, net = tensor_bytes(), model()
    size = weight_bytes(net)
    parts = [(part, "weight") for part in net if isinstance(part, nn.Linear)]
    for _ in range(EVENTS):
        torch_prune.global_unstructured(
            parts, pruning_method=torch_prune.L1Unstructured, amount=1 - KEEP ** (1 / EVENTS)
        )
    return (tensor_bytes() - before) / size


def measure() -> dict[str, float]:
    """Shares of the bytes of the weights."""
    schedule = Geometric(first=1, every=1, events=EVENTS, keep=KEEP)
    _, alone = train()
    plain, with_masks = train(Pruning("magnitude", schedule, verbose=False))
    rewind = Rewind(to=0, weights=True)
    rewound, _ = train(Pruning("magnitude", schedule, rewind=rewind, verbose=False))
    return {
        "plain": plain,
        "rewound": rewound,
        "torch": torchs(),
        "checkpoint": with_masks - alone,
    }


def show(found: dict[str, float]) -> None:
    """The figures beside their targets."""
    table(
        f"retained after {EVENTS} events, in units of the weights' bytes",
        [
            ("lightning_prune, tensors", f"{found['plain']:8.2f}     target <= 2.1"),
            ("  with rewinding of weights", f"{found['rewound']:8.2f}     target <= 3.1"),
            ("torch global_unstructured", f"{found['torch']:8.2f}"),
            (
                "lightning_prune, growth of a checkpoint",
                f"  1/{1 / found['checkpoint']:<4.1f}     target <= 1/24",
            ),
        ],
    )


if __name__ == "__main__":
    show(measure())
