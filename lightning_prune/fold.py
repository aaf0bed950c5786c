"""Folding: constants of units that leave, added to the biases of the layers that read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.allocations import Selection
from lightning_prune.network.constants import holds_constants, read_constants, reader_slices
from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.network import Network


@torch.no_grad()
def fold_constants(network: Network, selection: Selection, run: Callable[[], Any]) -> list[str]:
    r"""Keep what units without input pass on, before they leave with their biases and norms.

    A unit all of whose rows are zero is the same for every input: :math:`a(b)` behind a bias and
    an activation. Single weights leave such units behind; `Weights(clean=True)` takes them out, and
    so do filters and channels at a later event. Where one leaves, every reader loses
    :math:`\sum_k W_{:,c,k} \, a(b)`, which is added to the reader's bias instead. That is exact
    for linear layers, and for convolutions without zeros around their input; elsewhere, and where
    a reader has no bias, it is lost. Averages of weights are not folded into.

    Arguments:
        network: As it is before the selection is written.
        selection: What stays.
        run: Runs the network once on an example.

    Returns:
        A note, if anything was lost.
    """
    dead = {group: gain for group, gain in _dead(selection) if not bool(gain.all())}
    if not dead:
        return []
    lost: set[tuple[str, int]] = set()
    with _written(selection.chosen):
        constants = read_constants(
            network.model, [p.module for g in dead for p in reader_slices(g)], run
        )
        leaving = _leaving(dead)
        for group, gain in dead.items():
            for part in reader_slices(group):
                units = _fold(part, gain, constants.get(part.module), leaving.get(part.module))
                lost |= {(group.name, unit) for unit in units}
    if not lost:
        return []
    count = sum(int((gain == 0).sum()) for gain in dead.values())
    return [
        f"what {len(lost)} of {count} units without input or output passed on is lost: "
        "it changes with time, or a layer that reads them has zeros around its input, or no bias"
    ]


def _dead(selection: Selection) -> Iterator[tuple[Group, Tensor]]:
    """Groups, and (n_units,) 0 for the units that leave and are the same for every input."""
    for group, (_, gain) in selection.gains.items():
        if not group.layers:  # it follows others, which left its units no input or no reader
            yield group, gain
        elif all(part.units is not None for part in group.slices):
            yield group, torch.where(_fed(group).to(gain.device), 1.0, gain)


def _fed(group: Group) -> Tensor:
    """(n_units,) bool: some layer makes the unit of more than zeros."""
    fed = torch.zeros(group.size, dtype=torch.bool)
    for part in group.slices:
        if part.makes and part.dim is not None and part.units is not None:
            rows = part.parameter.detach().movedim(part.dim, 0).flatten(1)
            there = (rows != 0).any(1).cpu() & (part.units >= 0)
            fed[part.units[there]] = True
    return fed


def _leaving(dead: Mapping[Group, Tensor]) -> dict[nn.Module, Tensor]:
    """By layer, (outputs,) bool: which of its outputs leave, so that nothing reads into them."""
    found: dict[nn.Module, Tensor] = {}
    for group, gain in dead.items():
        for part in group.slices:
            if part.makes and part.dim == 0 and part.tensor == "weight" and part.units is not None:
                owned = part.units >= 0
                gone = torch.zeros(len(owned), dtype=torch.bool)
                gone[owned] = gain.cpu()[part.units[owned]] == 0
                found[part.module] = found.get(part.module, gone) | gone
    return found


def _fold(part: Slice, gain: Tensor, constant: Tensor | None, leaving: Tensor | None) -> list[int]:
    """Add the constants of dead units to the reader's bias; the units of which that fails."""
    module: Any = part.module
    assert part.units is not None
    owned = part.units >= 0
    gone = torch.zeros(len(owned), dtype=torch.bool)
    gone[owned] = gain.cpu()[part.units[owned]] == 0
    if constant is None or not bool(gone.any()):
        return []
    weight = module.weight.flatten(2).sum(2) if module.weight.dim() > 2 else module.weight
    columns = weight[:, gone.to(weight.device)]
    if leaving is not None:  # what a unit says to one that leaves as well is not missed
        columns = columns.masked_fill(leaving.to(weight.device)[:, None], 0)
    values = constant[gone.to(constant.device)].to(columns)
    matter = (columns != 0).any(0) & (values != 0)  # NaN: it is no constant
    if not bool(matter.any()):
        return []
    fails = matter if not holds_constants(module) else matter & values.isnan()
    passed = matter & ~fails
    if bool(passed.any()):
        module.bias += columns[:, passed] @ values[passed]
    return part.units[gone][fails.cpu()].tolist()


@contextmanager
def _written(chosen: Mapping[Group, Tensor]) -> Iterator[None]:
    """Inside, the layers have only the weights that were chosen."""
    weights = [(layer, layer.weight.clone()) for group in chosen for layer in group.layers]
    try:
        for group, gain in chosen.items():
            for layer in group.layers:
                layer.parameter.mul_(gain.view(layer.weight.shape).to(layer.weight.dtype))
        yield
    finally:
        for layer, weight in weights:
            layer.parameter.copy_(weight)
