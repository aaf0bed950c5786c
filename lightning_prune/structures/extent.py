"""Extent: what is left of tensors when units leave along their dimensions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.latency import LatencyTables
from lightning_prune.structures.base import Measure


def extent(gains: Mapping[Group, Tensor], measure: Measure) -> int:
    """Parameters, their multiply-adds or their nanoseconds, that the touched tensors have left.

    A tensor's entries are the product over its dimensions of the indices left. Several groups
    may own indices of one dimension and of different dimensions of one tensor, which is why a
    unit has no price of its own. Buffers do not count.

    Arguments:
        gains: (n_units,) by group; a unit of gain 0 leaves.
        measure: What is counted; for latency the measured tables.
    """
    touched: dict[tuple[int, str], Slice] = {}
    shapes: dict[tuple[int, str], list[int]] = {}
    for group, gain in gains.items():
        lost = _lost(gain)
        for part in group.slices:
            if not isinstance(part.parameter, nn.Parameter) or part.units is None:
                continue
            key = id(part.module), part.tensor
            touched[key] = part
            shape = shapes.setdefault(key, list(part.parameter.shape))
            if lost is not None and part.dim is not None:
                shape[part.dim] -= int(lost[part.units].count_nonzero())
    if isinstance(measure, LatencyTables):
        weights = [key for key in touched if key[1] == "weight"]
        return sum(measure.cost(touched[key].name, shapes[key]) for key in weights)
    return sum(
        torch.Size(shapes[key]).numel() * (1 if measure == "params" else part.positions)
        for key, part in touched.items()
    )


def along(part: Slice, gain: Tensor) -> Tensor:
    """The gains of the indices of a slice, 1 where no unit owns one; broadcasts to the tensor."""
    assert part.units is not None
    units = part.units.to(gain.device)
    values = torch.cat([gain, gain.new_ones(1)])[units]  # -1 is the last
    return values.view([-1 if d == part.dim else 1 for d in range(part.parameter.dim())])


def _lost(gain: Tensor) -> Tensor | None:
    """(n_units + 1,) on the CPU, the last for indices that no unit owns; None: nothing leaves."""
    if bool(gain.all()):
        return None
    return torch.cat([gain == 0, gain.new_zeros(1, dtype=torch.bool)]).cpu()
