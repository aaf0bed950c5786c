"""What holding the zeros costs in a training step, gradients included, beside the dense step.

Ours is what the callback does around an optimizer step: gradients of removed entries set to zero
before it, the entries themselves after it. Torch's is what `torch.nn.utils.prune` adds to forward
and backward: the weight computed from `weight_orig` and `weight_mask`, and its gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torch.nn.utils.prune as torch_prune
from timing import medians, table
from torch import nn

from lightning_prune.methods import find_method
from lightning_prune.models import ResNet
from lightning_prune.network.layers import find_layers
from lightning_prune.network.network import Network
from lightning_prune.selection import select, write
from lightning_prune.training.hold import Hold
from lightning_prune.training.masks import Masks

KEEP = 0.2
SIZE = 32


def small() -> nn.Module:
    """0.58 million parameters."""
    stages = [(3, 32), (32, 64), (64, 128)]
    body = [
        part
        for before, after in stages
        for part in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(2048, 236), nn.ReLU(), nn.Linear(236, 10))


CASES: dict[str, tuple[Callable[[], nn.Module], int, int, float]] = {
    # model, batch, rounds, target
    "resnet56": (lambda: ResNet(56), 128, 7, 0.002),
    "small": (small, 8, 60, 0.06),
}


class Training:
    """A model in training with a pruned network's masks in use.

    Arguments:
        model: Is pruned to `KEEP`.
        batch: Images in a batch.
    """

    def __init__(self, model: nn.Module, batch: int) -> None:
        torch.manual_seed(0)
        self.model = model.train()
        self.images = torch.randn(batch, 3, SIZE, SIZE)
        self.labels = torch.randint(0, 10, (batch,))
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        network, method = Network(model), find_method("magnitude")
        selection = select(network, method, KEEP, "params")
        write(selection)
        masks = Masks()
        masks.record(selection.gains)
        masks.use(selection.gains)
        self.masks = dict(masks.held)
        self.hold = Hold()
        self.hold.attach([self.optimizer], masks)
        self.hold.detach()  # the step below is the dense one
        self.hold.assign([self.optimizer], masks)

    def step(self) -> None:
        """Forward, backward, optimizer step, and no mask."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.images), self.labels).backward()
        self.optimizer.step()

    def ours(self) -> None:
        """What the callback adds."""
        self.hold.mask_gradients(self.optimizer)
        self.hold._after_step(self.optimizer)

    def torchs(self) -> Callable[[], None]:
        """What hooks before forward add, with the backward of their products."""
        twin = Training(copy.deepcopy(self.model), 1)
        parts = []
        for layer in find_layers(twin.model):
            mask = twin.masks.get(layer.parameter, torch.ones_like(layer.weight))
            torch_prune.custom_from_mask(layer.module, "weight", mask)
            parts.append(layer.module)
        hooks = [(part, next(iter(part._forward_pre_hooks.values()))) for part in parts]
        grads = [torch.randn_like(part.weight) for part in parts]

        def run() -> None:
            for part, hook in hooks:
                hook(part, None)
            torch.autograd.backward([part.weight for part in parts], grads)
            for part in parts:
                part.weight_orig.grad = None

        return run


def measure(case: str, rounds: int | None = None) -> dict[str, float]:
    """Milliseconds of a dense step and of what both add to it, and the two shares."""
    make, batch, usual, target = CASES[case]
    training = Training(make(), batch)
    training.step()
    sides = {"step": training.step, "ours": training.ours, "torch": training.torchs()}
    taken = medians(sides, rounds or usual)
    ours, torchs = taken["ours"], taken["torch"]
    return {
        "params": sum(p.numel() for p in training.model.parameters()),
        "batch": batch,
        "step_ms": 1e3 * taken["step"],
        "ours_ms": 1e3 * ours,
        "torch_ms": 1e3 * torchs,
        "ours_share": ours / taken["step"],
        "torch_share": torchs / taken["step"],
        "target": target,
    }


def show(found: dict[str, dict[str, float]]) -> None:
    """The figures beside their targets."""
    for case, figures in found.items():
        table(
            f"upkeep of masks, {case}: {figures['params']:,.0f} parameters, "
            f"batch {figures['batch']:.0f}, one thread",
            [
                ("dense training step", f"{figures['step_ms']:10.2f} ms"),
                ("lightning_prune adds", f"{figures['ours_ms']:10.3f} ms"),
                (
                    "  share of the step",
                    f"{100 * figures['ours_share']:10.3f} %  target <= "
                    f"{100 * figures['target']:g} %",
                ),
                ("torch's hooks add", f"{figures['torch_ms']:10.3f} ms"),
                ("  share of the step", f"{100 * figures['torch_share']:10.3f} %"),
            ],
        )


if __name__ == "__main__":
    show({case: measure(case) for case in CASES})
