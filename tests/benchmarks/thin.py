"""Thin networks beside those of Torch-Pruning, and the seconds from masks to a small module.

Torch-Pruning 1.6 removes half of the filters of every layer by their norms. Ours are thinned to
the same numbers of filters; and, apart, to the same multiply-adds, by filter norms at a uniform
share. Weights are random; only time is compared, by turns, processor time on one thread.
"""

from __future__ import annotations

import copy
import warnings
from functools import partial

import torch
import torch_pruning
import torchvision
from timing import medians, table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune import prune
from lightning_prune.models import ResNet
from lightning_prune.network.network import Network
from lightning_prune.structures import Filters
from lightning_prune.thinning import thin_out

HALF = 0.5
# by network: pixels and batches
CASES = {
    "resnet56": (32, (1, 64)),
    "resnet18": (64, (1, 16)),
    "resnet50": (64, (1, 8)),
}
ROUNDS = {1: 60, 8: 24, 16: 24, 64: 16}
THINNED = 224  # pixels of the ResNet-50 that is thinned against the clock


def dense(case: str) -> nn.Module:
    """The network, random."""
    torch.manual_seed(0)
    made = ResNet(56, shortcut="B") if case == "resnet56" else getattr(torchvision.models, case)()
    return made.eval()


def theirs(net: nn.Module, example: Tensor) -> nn.Module:
    """Half of the filters of every layer taken out by Torch-Pruning."""
    net = copy.deepcopy(net)
    head = [module for module in net.modules() if isinstance(module, nn.Linear)]
    pruner = torch_pruning.pruner.MagnitudePruner(
        net,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=HALF,
        ignored_layers=head,
    )
    pruner.step()
    return net.eval()


def ours(net: nn.Module, example: Tensor) -> nn.Module:
    """Half of the filters of every layer masked and thinned."""
    net = copy.deepcopy(net)
    network = Network(net, None, lambda: net(example), len(example))
    structure = Filters()
    for group in network.graph().groups(network.layers):
        gain = torch.zeros(group.size)
        gain[: group.size - group.size // 2] = 1
        structure.write(group, gain)
    return thin_out(net, example).model


def budgeted(net: nn.Module, example: Tensor, macs: float) -> nn.Module:
    """Pruned by filter norms to a number of multiply-adds at most, and thinned."""
    net = copy.deepcopy(net)
    prune(net, "filter_norm", macs / count(net, example), measure="macs", example=example)
    return thin_out(net, example).model


def count(net: nn.Module, example: Tensor) -> float:
    """Multiply-adds of one sample, by torch's counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(example)
    return counter.get_total_flops() / 2 / len(example)


def measure(case: str) -> dict[str, float]:
    """Milliseconds of a forward of all four networks at both batches, and their sizes."""
    pixels, batches = CASES[case]
    net, example = dense(case), torch.randn(1, 3, pixels, pixels)
    peer = theirs(net, example)
    macs = count(peer, example)
    nets = {
        "dense": net,
        "torch-pruning": peer,
        "thin, equal filters": ours(net, example),
        "thin, equal multiply-adds": budgeted(net, example, macs),
    }
    found = {f"{name}: multiply-adds": count(made, example) for name, made in nets.items()}
    for batch in batches:
        x = torch.randn(batch, 3, pixels, pixels)
        with torch.inference_mode():
            taken = medians({n: partial(m, x) for n, m in nets.items()}, ROUNDS[batch])
        found |= {f"{name}: ms at {batch}": 1e3 * value for name, value in taken.items()}
    return found


def thinning() -> dict[str, float]:
    """Seconds of processor time from a masked ResNet-50 to a thin one that is checked."""
    net, example = torchvision.models.resnet50().eval(), torch.randn(1, 3, THINNED, THINNED)
    prune(net, "filter_norm", HALF, example=example)
    return medians({"mask to thin": lambda: thin_out(net, example)}, 3)


def run() -> dict[str, dict[str, float]]:
    """Everything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**{case: measure(case) for case in CASES}, "resnet50 at 224": thinning()}


def show(found: dict[str, dict[str, float]]) -> None:
    """Print it."""
    for case, figures in found.items():
        rows = []
        for name, value in figures.items():
            side, _, what = name.partition(": ")
            if what.startswith("ms"):
                reference, peer = figures[f"dense: {what}"], figures[f"torch-pruning: {what}"]
                text = f"{value:8.2f}   {reference / value:.2f} x dense, {peer / value:.2f} x peer"
            elif what:
                text = f"{value:,.0f}"
            else:
                text = f"{value:.2f} s"
            rows.append((f"{side}{', ' + what if what else ''}", text))
        table(f"thin, {case}", rows)
