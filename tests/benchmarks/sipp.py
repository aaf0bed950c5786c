"""Sensitivities (SiPP) of whole networks, beside the published algorithm, and in memory.

Every side takes in the inputs of all layers while the network runs. The published algorithm takes
one image at a time and loops over filters: products of a filter's positive and of its negative
weights with the unfolded patches, for both signs of the activations, each divided by its sum. A
batched unfold drops the loop over images: all of them are unfolded and multiplied with a filter
at once. The third has no loop at all: sums and shares are products of matrices with the unfolded
patches. A training step is forward, backward and momentum on as many images.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from timing import medians, table
from torch import Tensor, nn

from lightning_prune.allocations import EqualError
from lightning_prune.criteria import SiPP
from lightning_prune.methods import Method
from lightning_prune.models import LeNet300, ResNet
from lightning_prune.network.layers import Layer, find_layers
from lightning_prune.network.network import Network
from lightning_prune.network.watch import watch_inputs
from lightning_prune.prune import prune, watch
from lightning_prune.structures import Channels

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, int]] = {
    # model, shape of an image, images, rounds
    "resnet20": (lambda: ResNet(20, shortcut="B"), (3, 32, 32), 8, 3),
    "lenet_300_100": (LeNet300, (1, 28, 28), 152, 3),
}


def unfolded(layer: Layer, value: Tensor) -> Tensor:
    """(images, entries of a filter, patches); no patches of a linear layer but one."""
    module = layer.module
    if isinstance(module, nn.Linear):
        return value[..., None]
    return F.unfold(value, module.kernel_size, module.dilation, module.padding, module.stride)


class ByFilter:
    """A loop over the filters, on as many images as come in one call."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def observe(self, layer: Layer, value: Tensor) -> None:
        """The mean over patches of the shares of every weight, and its maximum."""
        patches = unfolded(layer, value)
        points = torch.cat([patches.clamp_min(0), (-patches).clamp_min(0)])
        weight = layer.weight.flatten(1)
        found = torch.empty_like(weight)
        for index, row in enumerate(weight):
            shares = [self._shares(half.clamp_min(0), points) for half in (row, -row)]
            found[index] = torch.maximum(*shares)
        self._record(layer, found)

    def _shares(self, row: Tensor, points: Tensor) -> Tensor:
        products = row[:, None] * points
        sums = products.sum(1, keepdim=True)
        shares = torch.where(sums > 1e-6 * sums.amax(-1, keepdim=True), products / sums, 0)
        return shares.nan_to_num_(0).mean(-1).amax(0)

    def _record(self, layer: Layer, found: Tensor) -> None:
        found = found.view(layer.weight.shape)
        before = self.seen.get(layer.name)
        self.seen[layer.name] = found if before is None else torch.maximum(before, found)


class ByMatrix(ByFilter):
    """All filters at once, by products of matrices."""

    def observe(self, layer: Layer, value: Tensor) -> None:
        """The same."""
        patches = unfolded(layer, value)
        weight = layer.weight.flatten(1)
        found = torch.zeros_like(weight)
        for half in (weight.clamp_min(0), (-weight).clamp_min(0)):
            for points in (patches.clamp_min(0), (-patches).clamp_min(0)):
                sums = half @ points
                there = sums > 1e-6 * sums.amax(-1, keepdim=True)
                rates = torch.where(there, 1 / sums, 0)
                shares = (rates @ points.transpose(1, 2)).amax(0) / points.shape[2]
                found = torch.maximum(found, shares * half)
        self._record(layer, found)


class Subject:
    """A network with running statistics of its own, and images.

    Arguments:
        case: A key of `CASES`.
    """

    def __init__(self, case: str) -> None:
        make, shape, count, _ = CASES[case]
        torch.manual_seed(0)
        self.model = make()
        self.images = torch.randn(count, *shape)
        self.labels = torch.randint(0, 10, (count,))
        self.layers = find_layers(self.model)
        self.network = Network(self.model)
        with torch.no_grad():
            self.model.train()(self.images)
        self.model.eval()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0, momentum=0.9)

    def ours(self, **options: object) -> SiPP:
        """As an event does it."""
        criterion = SiPP(**options)  # type: ignore[arg-type]
        watch(self.network, criterion, [self.images], lambda batch, _: self.model(batch))
        return criterion

    def other(self, side: ByFilter, size: int) -> ByFilter:
        """Another way, in batches of the given size."""
        watch_inputs(self.layers, side.observe, self.images.split(size), lambda x, _: self.model(x))
        return side

    def step(self) -> None:
        """Training on as many images."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.images), self.labels).backward()
        self.optimizer.step()

    def agree(self) -> float:
        """Largest difference between ours and the published algorithm."""
        seen, other = self.ours().seen, self.other(ByFilter(), 1).seen
        return max(float((seen[name] - other[name]).abs().max()) for name in other)


def measure(case: str, rounds: int | None = None) -> dict[str, float]:
    """Milliseconds of each side on the same images, and how much faster ours is."""
    subject = Subject(case)
    count, usual = CASES[case][2:]
    sides: dict[str, Callable[[], object]] = {
        "ours": subject.ours,
        "training": subject.step,
        "matrix": lambda: subject.other(ByMatrix(), count),
        "batched": lambda: subject.other(ByFilter(), count),
        "published": lambda: subject.other(ByFilter(), 1),
    }
    difference = subject.agree()
    taken = medians(sides, rounds or usual)
    return {
        "images": count,
        "difference": difference,
        **{f"{name}_ms": 1e3 * seconds for name, seconds in taken.items()},
        **{f"faster_than_{name}": taken[name] / taken["ours"] for name in sides if name != "ours"},
    }


def measure_max(size: int = 224, images: int = 16, memory: int = 1 << 26) -> dict[str, float]:
    """Seconds and growth of peak memory of the maximum over patches, of a ResNet-50.

    First the sensitivities alone, then a whole event of PFP: sensitivities, channels, bounds and
    errors on the same images, and the running statistics of what is left.
    """
    from torchvision.models import resnet50

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = resnet50().eval()
    data = torch.randn(images, 3, size, size).split(1)
    network, criterion = Network(model), SiPP(patches="max", memory=memory)
    with torch.no_grad():
        for image in data:
            model(image)
    before, start, wall = _peak(), time.process_time(), time.perf_counter()
    watch(network, criterion, data, lambda batch, _: model(batch))
    found = {
        "size": size,
        "images": images,
        "memory_mib": memory / 2**20,
        "seconds": time.process_time() - start,
        "wall": time.perf_counter() - wall,
        "scores_mib": sum(s.numel() * s.element_size() for s in criterion.seen.values()) / 2**20,
        "peak_mib": _peak() - before,
    }
    method = Method(SiPP("max", memory=memory), Channels("max"), EqualError())
    start = time.process_time()
    report = prune(model, method, 0.5, loader=data, batches=images)
    return found | {
        "event_seconds": time.process_time() - start,
        "event_keep": report.keep,
        "event_peak_mib": _peak() - before,
    }


def _peak() -> float:
    """MiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def show(found: dict[str, dict[str, float]]) -> None:
    """The figures beside their targets."""
    targets = {
        "resnet20": {"published": 8, "batched": 3, "training": 1 / 3},
        "lenet_300_100": {"published": 30},
    }
    for case, figures in found.items():
        if case == "max":
            continue
        rows = [("lightning_prune, SiPP", f"{figures['ours_ms']:9.1f} ms")]
        names = {
            "published": "published algorithm",
            "batched": "batched unfold, loop over filters",
            "matrix": "batched unfold, products of matrices",
            "training": "training on as many images",
        }
        for side, name in names.items():
            target = targets[case].get(side)
            wanted = "" if target is None else f"     target >= {target:.3g}"
            rows += [
                (name, f"{figures[side + '_ms']:9.1f} ms"),
                ("  times ours", f"{figures['faster_than_' + side]:9.2f}{wanted}"),
            ]
        rows.append(("largest difference of a score", f"{figures['difference']:9.1e}"))
        table(f"sensitivities, {case}, {figures['images']:.0f} images, one thread", rows)
    if "max" in found:
        figures = found["max"]
        table(
            f"maximum over patches, ResNet-50, {figures['images']:.0f} images of "
            f"{figures['size']:.0f} pixels, one thread",
            [
                ("processor", f"{figures['seconds']:9.0f} s      target <= 900"),
                ("wall", f"{figures['wall']:9.0f} s"),
                ("memory asked for", f"{figures['memory_mib']:9.0f} MiB"),
                ("scores", f"{figures['scores_mib']:9.0f} MiB"),
                ("growth of the peak", f"{figures['peak_mib']:9.0f} MiB"),
                ("a whole event of PFP", f"{figures['event_seconds']:9.0f} s      target <= 900"),
                ("  growth of the peak", f"{figures['event_peak_mib']:9.0f} MiB"),
            ],
        )


if __name__ == "__main__":
    show({case: measure(case) for case in CASES} | {"max": measure_max()})
