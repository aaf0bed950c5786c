"""The contract of structures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.structures import Measure, Structure
from lightning_prune.testing.network import check_repr, copied, small_network


def check_structure(structure: Structure) -> None:
    """Check units, cost, writing, holding and restoring on a small convolutional network.

    Raises:
        AssertionError: Units are not linear; the cost of everything is not that of the dense
            tensors, falls when units are added or differs from the prices; a written unit is not
            its gain times the unit before; holding rescales or does not hold; or writing ones and
            restoring is not the identity.
    """
    check_repr(structure)
    network = small_network()
    graph = network.graph()  # from here on layers know their multiply-adds
    groups = structure.groups(network.layers, lambda: graph)
    names = [group.name for group in groups]
    assert len(set(names)) == len(names), f"names of groups are not unique: {names}"
    for layer in network.layers:
        one, other = torch.rand_like(layer.weight), torch.rand_like(layer.weight)
        joint = structure.units(layer, 2 * one - 3 * other)
        assert joint.dim() == 2, f"units of {layer.name!r} are not of (units, entries)"
        apart = 2 * structure.units(layer, one) - 3 * structure.units(layer, other)
        assert torch.allclose(joint, apart, atol=1e-4), f"units of {layer.name!r} are not linear"
    _check_cost(structure, groups)
    before = copied(network.model)
    for group in groups:
        assert structure.variants(group), f"{structure!r} has no variant for {group.name!r}"
        _check_written(structure, group)
        network.model.load_state_dict(before)
    for group in groups:
        structure.write(group, torch.ones(group.size))
        for layer in group.layers:
            structure.restore(layer)
    after = network.model.state_dict()
    assert list(after) == list(before), "restoring does not give the names of the state back"
    for name, value in before.items():
        assert torch.allclose(after[name], value, atol=1e-5), f"keeping everything changed {name!r}"


def _check_cost(structure: Structure, groups: Sequence[Group]) -> None:
    parts = [part for group in groups for each in (group, *group.follows) for part in each.slices]
    tensors = {part.parameter for part in parts if isinstance(part.parameter, nn.Parameter)}
    dense = structure.cost({group: torch.ones(group.size) for group in groups}, "params")
    assert dense == sum(tensor.numel() for tensor in tensors), "all units do not cost all entries"
    measures: tuple[Measure, ...] = ("params", "macs")
    for measure in measures:
        _check_monotone(structure, groups, measure)


def _check_monotone(structure: Structure, groups: Sequence[Group], measure: Measure) -> None:
    sizes = [group.size for group in groups]
    order, before = torch.randperm(sum(sizes)).split(sizes), -1
    for length in range(0, sum(sizes) + 1, 5):
        gains = {g: (ranks < length).float() for g, ranks in zip(groups, order, strict=True)}
        cost = structure.cost(gains, measure)
        assert cost >= before, f"the cost in {measure} falls when units are added"
        before = cost
        if structure.additive:
            prices = [structure.price(group, measure) * int(v.sum()) for group, v in gains.items()]
            assert cost == sum(prices), f"prices in {measure} of what stays do not sum to the cost"
    assert before > 0, f"everything costs nothing in {measure}"


def _check_written(structure: Structure, group: Group) -> None:
    gain = torch.tensor([0.0, 1.0, 0.5, 0.0, 2.0]).repeat(group.size)[: group.size]
    units = [structure.units(layer, layer.weight).clone() for layer in group.layers]
    structure.write(group, gain)
    for what in ("writing", "holding", "holding again"):
        for layer, before in zip(group.layers, units, strict=True):
            wanted = _gains(group, layer, gain, len(before))[:, None] * before
            now = structure.units(layer, layer.weight)
            if not structure.lasting:  # units are known by what they are, not by their places
                now, wanted = now.abs().sort(0).values, wanted.abs().sort(0).values
            assert not structure.exact or torch.allclose(now, wanted, atol=1e-5), (
                f"{what} {group.name!r} does not leave gain * unit in {layer.name!r}"
            )
            if not structure.changes_parameters:  # what a step of an optimizer may do
                layer.parameter.data.masked_fill_(layer.weight == 0, 1.0)
        structure.hold(group, gain)
    for layer in group.layers:
        structure.restore(layer)


def _gains(group: Group, layer: Layer, gain: Tensor, count: int) -> Tensor:
    """(count,) gains of a layer's units, 1 where they are of another group."""
    for part in group.slices:
        if part.module is layer.module and part.units is not None and len(part.units) == count:
            return torch.cat([gain, torch.ones(1)])[part.units]
    return gain
