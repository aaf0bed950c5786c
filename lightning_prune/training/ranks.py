"""Several processes: what they observed is reduced, what rank 0 selected is what all write."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from lightning_prune.allocations import Selection
from lightning_prune.criteria import DataCriterion
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import PRUNABLE
from lightning_prune.network.network import Network
from lightning_prune.structures import Structure
from lightning_prune.training.masks import pack, unpack


def world() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) where nothing is distributed."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def fail_together(error: Exception | None) -> None:
    """Raise on every rank if one failed; the others would wait for it.

    Raises:
        Exception: That of this rank.
        RuntimeError: Another rank failed; its number and its error are named.
    """
    _, size = world()
    if size > 1:
        told: list[Any] = [None] * size
        dist.all_gather_object(told, error and f"{type(error).__name__}: {error}")
        failed = [index for index, text in enumerate(told) if text]
        if error is None and failed:
            raise RuntimeError(f"Process {failed[0]} of {size} failed with {told[failed[0]]}")
    if error is not None:
        raise error


def reduce_observations(criterion: DataCriterion) -> None:
    """Combine what the processes saw, by the reduction that the criterion declares."""
    if world()[1] == 1:
        return
    operation = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}[criterion.reduction]
    for name in sorted(criterion.seen):
        value = criterion.seen[name].contiguous()
        dist.all_reduce(value, op=operation)
        criterion.seen[name] = value


def share_biases(network: Network) -> None:
    """Rank 0's biases of linear and convolutional layers, on every rank."""
    if world()[1] == 1:
        return
    for module in network.model.modules():
        bias = module._parameters.get("bias") if isinstance(module, PRUNABLE) else None
        if bias is not None:
            dist.broadcast(bias.data, src=0)


def share_statistics(norms: Sequence[_NormBase]) -> None:
    """Rank 0's running statistics, on every rank: streams of data may differ between them."""
    if world()[1] == 1:
        return
    for norm in norms:
        for value in (norm.running_mean, norm.running_var):
            assert value is not None
            dist.broadcast(value, src=0)


def agree(selection: Selection) -> Selection:
    """Rank 0's selection, on every rank."""
    if world()[1] == 1:
        return selection
    ordered = list(selection.gains.items())
    packet: list[Any] = [
        [_send(s, g, selection.rescaled) for _, (s, g) in ordered],
        _numbers(selection),
    ]
    dist.broadcast_object_list(packet, src=0)
    gains: Mapping[Group, tuple[Structure, Tensor]] = {
        group: _receive(sent, group, gain.device)
        for (group, (_, gain)), sent in zip(ordered, packet[0], strict=True)
    }
    return dataclasses.replace(selection, gains=gains, **packet[1])


def _numbers(selection: Selection) -> dict[str, Any]:
    return {"cost": selection.cost, "cut": selection.cut, "floors": selection.floors}


def _send(structure: Structure, gain: Tensor, rescaled: bool) -> tuple[Structure, Tensor, bool]:
    return structure, gain.cpu() if rescaled else pack(gain), rescaled


def _receive(
    sent: tuple[Structure, Tensor, bool], group: Group, device: torch.device
) -> tuple[Structure, Tensor]:
    structure, values, rescaled = sent
    return structure, values.to(device) if rescaled else unpack(values, group.size, device)
