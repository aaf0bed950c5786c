"""One exact global magnitude event on the 25.5 million weights of a ResNet-50.

Ours is all that an event of the callback does: scores, the exact cut, written weights, packed
masks and working masks. Beside it `torch.nn.utils.prune.global_unstructured`, and the floor: one
comparison of absolute weights with a known threshold.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.utils.prune as torch_prune
from timing import medians, table
from torchvision.models import resnet50

from lightning_prune.methods import find_method
from lightning_prune.network.layers import find_layers
from lightning_prune.network.network import Network
from lightning_prune.selection import select, write
from lightning_prune.training.masks import Masks

KEEP = 0.5


class Event:
    """The three sides, on weights that are set back before every turn.

    Arguments:
        nested: An earlier event left 0.6 of the network, and its masks are in use.
    """

    def __init__(self, nested: bool = False) -> None:
        torch.manual_seed(0)
        self.model = resnet50()
        self.network = Network(self.model)
        self.method = find_method("magnitude")
        self.masks = Masks()
        self.nested = nested
        if nested:
            self.ours(0.6)
        self.first = copy.copy(self.masks)
        self.parts = [(layer.module, "weight") for layer in find_layers(self.model)]
        self.saved = [module.weight.detach().clone() for module, _ in self.parts]
        magnitudes = torch.cat([weight.flatten() for weight in self.saved]).abs_()
        self.threshold = magnitudes.kthvalue(magnitudes.numel() // 2).values.item()

    def reset(self, side: str) -> None:
        """The weights and masks as they were, and none of torch's."""
        self.masks = copy.copy(self.first)
        with torch.no_grad():
            for (module, name), weight in zip(self.parts, self.saved, strict=True):
                if torch_prune.is_pruned(module):
                    torch_prune.remove(module, name)
                module.weight.copy_(weight)

    def ours(self, keep: float = KEEP) -> None:
        """As in `Pruner.prune`."""
        with torch.no_grad():
            structure = self.method.structure
            groups = structure.groups(self.network.layers, self.network.graph)
            gone = self.masks.gone(groups)
            selection = select(self.network, self.method, keep, "params", gone)
            write(selection)
            self.masks.record(selection.gains)
            self.masks.use(selection.gains, selection.rescaled)

    def torchs(self) -> None:
        """The same share of the prunable weights."""
        torch_prune.global_unstructured(
            self.parts, pruning_method=torch_prune.L1Unstructured, amount=1 - KEEP
        )

    def floor(self) -> list[torch.Tensor]:
        """What no exact method can do without."""
        return [module.weight.detach().abs() > self.threshold for module, _ in self.parts]


def against(nested: bool, side: str, rounds: int, warm: bool = False) -> tuple[float, float]:
    """Milliseconds of ours and of another side, by turns.

    With `warm`, each side runs once untimed before each of its turns, so that neither pays for
    memory that the other has given back to the system: a virtual machine may need longer for the
    first touch of a page than either side for its work.
    """
    event = Event(nested)
    sides = {"ours": event.ours, side: {"torch": event.torchs, "floor": event.floor}[side]}

    def before(name: str) -> None:
        event.reset(name)
        if warm:
            sides[name]()
            event.reset(name)

    taken = medians(sides, rounds, before)
    return 1e3 * taken["ours"], 1e3 * taken[side]


def measure(rounds: int = 15) -> dict[str, float]:
    """Milliseconds, and ratios of what ran by turns."""
    ours, floor = against(False, "floor", rounds)
    later, later_floor = against(True, "floor", rounds)
    beside, torchs = against(False, "torch", max(3, rounds // 3), warm=True)
    cold, cold_torchs = against(False, "torch", max(3, rounds // 3))
    return {
        "ours_ms": ours,
        "floor_ms": floor,
        "torch_ms": torchs,
        "ours_beside_torch_ms": beside,
        "later_ms": later,
        "of_the_floor": ours / floor,
        "later_of_the_floor": later / later_floor,
        "faster_than_torch": torchs / beside,
        "faster_than_torch_cold": cold_torchs / cold,
    }


def show(found: dict[str, float]) -> None:
    """The figures beside their targets."""
    table(
        "one global magnitude event on ResNet-50, 25.5 M weights, one thread",
        [
            ("floor, abs() > t", f"{found['floor_ms']:8.0f} ms"),
            ("lightning_prune, whole event", f"{found['ours_ms']:8.0f} ms"),
            ("  times the floor", f"{found['of_the_floor']:8.2f}     target <= 3.5"),
            ("lightning_prune, a later event", f"{found['later_ms']:8.0f} ms"),
            ("  times the floor", f"{found['later_of_the_floor']:8.2f}"),
            ("torch global_unstructured", f"{found['torch_ms']:8.0f} ms"),
            ("lightning_prune beside it", f"{found['ours_beside_torch_ms']:8.0f} ms"),
            ("  times faster", f"{found['faster_than_torch']:8.1f}     target >= 25"),
            ("  on cold memory", f"{found['faster_than_torch_cold']:8.1f}"),
        ],
    )


if __name__ == "__main__":
    show(measure())
