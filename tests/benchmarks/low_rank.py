"""Ranks and slices of whole networks (ALDS) beside the published algorithm, and what they gain.

Ours is all that an event does before it writes: the spectra of all slices for all divisors of the
channels, and the exact choice. The published algorithm works out one slice after the other, and
alternates from 15 seeds; its first call has all singular values to find, later ones have them.
Weights are random, their singular values fall as i^-0.6. Both errors are the largest of all
layers, of a layer the largest singular value that a slice loses over the norm of its weight.

The second part times factored layers as the two convolutions that they become.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from timing import medians, table
from torch import nn

from lightning_prune.allocations import Selection, Threshold
from lightning_prune.criteria import SpectralError
from lightning_prune.lowrank import Folding, remembered
from lightning_prune.methods import Method
from lightning_prune.network.network import Network
from lightning_prune.selection import select
from lightning_prune.structures import Ranks

sys.path.append(str(Path(__file__).resolve().parent.parent / "allocations"))
from published_alds import PublishedALDS, PublishedLayer, power_law

CASES = {"resnet18": (0.5, 0.4), "resnet50": (0.5, 0.4)}
LAYERS = {"256 ch, 14 x 14": (256, 14), "64 ch, 56 x 56": (64, 56)}
SLICES = (1, 4, 8, 16)


def seconds(run: Callable, *arguments: object) -> tuple[float, Any]:
    """Of processor time, and what was returned."""
    start = time.process_time()
    found = run(*arguments)
    return time.process_time() - start, found


class Subject:
    """A network with random weights of a power law.

    Arguments:
        case: A key of `CASES`, a name of torchvision's.
    """

    def __init__(self, case: str) -> None:
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(0)
        self.network = Network(getattr(torchvision.models, case)())
        for layer in self.network.layers:
            layer.parameter.data = power_law(tuple(layer.weight.shape), generator)
        self.method = Method(SpectralError("max"), Ranks("divisors"), Threshold())
        self.weights = {layer.name: layer.weight for layer in self.network.layers}
        self.known: dict[str, dict] = {name: {} for name in self.weights}

    def ours(self, keep: float) -> Selection:
        """With no spectrum known, unless inside `remembered`."""
        with remembered():
            return select(self.network, self.method, keep, "params")

    def published(self, keep: float, forget: bool = False) -> object:
        """With the singular values of earlier calls."""
        if forget:
            self.known = {name: {} for name in self.weights}
        return PublishedALDS(self._layers(), self._rest())(keep)

    def error(self, selection: Selection) -> float:
        """The largest of all layers, by the other side's singular values."""
        layers = dict(zip(self.weights, self._layers(), strict=True))
        lost = []
        for group, (structure, gain) in selection.gains.items():
            folding = structure.folding(group.layers[0])
            if not bool(gain.all()):
                lost.append(layers[group.name].lost(folding.slices, int(gain.sum())))
        return max(lost)

    def size(self, selection: Selection) -> int:
        """Parameters of all layers."""
        return sum(
            structure.cost({group: gain}, "params")
            for group, (structure, gain) in selection.gains.items()
        )

    def _layers(self) -> list[PublishedLayer]:
        return [PublishedLayer(w, self.known[name]) for name, w in self.weights.items()]

    def _rest(self) -> int:
        return self.network.params - sum(weight.numel() for weight in self.weights.values())


def measure(case: str, rounds: int = 3, beside: bool = True) -> dict[str, float]:
    """Seconds of processor time of each side, and errors at each keep.

    Arguments:
        case: A key of `CASES`.
        rounds: Of ours; the other side runs once, between them.
        beside: Whether it runs.
    """
    subject, found = Subject(case), {}
    subject.ours(CASES[case][0])
    for number, keep in enumerate(CASES[case]):
        taken = []
        for turn in range(rounds):
            if beside and turn == rounds // 2:
                took, theirs = seconds(subject.published, keep, number == 0)
                found[f"published_{keep}"] = took
                found[f"published_error_{keep}"] = theirs.error
                found[f"published_size_{keep}"] = theirs.size
            took, ours = seconds(subject.ours, keep)
            taken.append(took)
        found[f"ours_{keep}"] = sorted(taken)[rounds // 2]
        found[f"size_{keep}"] = subject.size(ours)
        found[f"error_{keep}"] = subject.error(ours)
        with remembered():
            subject.ours(keep)
            again = sorted(seconds(subject.ours, keep)[0] for _ in range(rounds))
        found[f"again_{keep}"] = again[rounds // 2]
    return found


def factored(channels: int, slices: int, keep: float = 0.5) -> nn.Sequential:
    """Encoder and decoder of a 3 x 3 convolution with at most that share of its parameters."""
    folding = Folding((channels, channels, 3, 3), slices=slices)
    rank = int(keep * folding.numel / folding.params(1))
    inner = slices * rank
    return nn.Sequential(
        nn.Conv2d(channels, inner, 3, padding=1, groups=slices, bias=False),
        nn.Conv2d(inner, channels, 1),
    )


def measure_layers(batch: int = 16, rounds: int = 15) -> dict[str, float]:
    """How much faster than dense the factors of half the parameters are, by turns."""
    found = {}
    for name, (channels, size) in LAYERS.items():
        x = torch.randn(batch, channels, size, size)
        dense = nn.Conv2d(channels, channels, 3, padding=1)
        modules = {"dense": dense} | {str(k): factored(channels, k) for k in SLICES}
        with torch.inference_mode():
            taken = medians({k: partial(m, x) for k, m in modules.items()}, rounds)
        found[f"{name}, dense_ms"] = 1e3 * taken["dense"]
        found |= {f"{name}, {k}": taken["dense"] / taken[str(k)] for k in SLICES}
    return found


def show(found: dict[str, dict[str, float]]) -> None:
    """The figures beside their targets."""
    targets = {"resnet18": 4, "resnet50": 15}
    for case, figures in found.items():
        if case == "layers":
            continue
        rows = []
        for keep in CASES[case]:
            aim = targets[case]
            rows += [
                (f"keep {keep}: lightning_prune", f"{figures[f'ours_{keep}']:8.2f} s    <= {aim}"),
                ("  spectra known", f"{figures[f'again_{keep}']:8.2f} s"),
                ("  largest error, size", _choice(figures, "", keep)),
            ]
            if f"published_{keep}" in figures:
                known = "first call" if keep == CASES[case][0] else "singular values known"
                rows += [
                    (f"  published, {known}", f"{figures[f'published_{keep}']:8.2f} s"),
                    ("  largest error, size", _choice(figures, "published_", keep)),
                ]
        table(f"ranks and slices of {case}, processor time, one thread", rows)
    if "layers" in found:
        figures = found["layers"]
        rows = []
        for name in LAYERS:
            rows.append((f"{name}, dense", f"{figures[f'{name}, dense_ms']:8.1f} ms"))
            for k in SLICES:
                aim = "   target >= 1.5" if k == 1 else ""
                rows.append((f"  slices {k}: times faster", f"{figures[f'{name}, {k}']:8.2f}{aim}"))
        table("3 x 3 convolutions as two of half the parameters, 16 images, one thread", rows)


def _choice(figures: dict[str, float], side: str, keep: float) -> str:
    return f"{figures[f'{side}error_{keep}']:8.6f}, {figures[f'{side}size_{keep}']:,.0f}"


def run() -> dict[str, dict[str, float]]:
    """All of it; the published algorithm runs on the smaller network only."""
    found = {case: measure(case, beside=case == "resnet18") for case in CASES}
    return found | {"layers": measure_layers()}


if __name__ == "__main__":
    show(run())
