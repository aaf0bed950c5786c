"""Cleaning: units that single weights' removal left without input or without output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.layers import Layer

Place = tuple[int, str]  # a module and the name of its tensor

FOLLOWER = "/units"  # what the name of a group that follows others ends in


def followers(filters: Sequence[Group]) -> list[Group]:
    """Groups of filters as groups that nobody scores and that follow single weights."""
    return [Group(group.name + FOLLOWER, (), group.slices, group.size) for group in filters]


def holds(group: Group, layer: Layer) -> bool:
    """Whether a part of the layer's weight belongs to the group's units."""
    return any(_of(part, layer) for part in group.slices)


def settle(gains: Mapping[Group, Tensor]) -> dict[Group, Tensor]:
    """Take dead units out, until none is left.

    A unit is dead when every row that makes it is zero, or every column that reads it.
    Depthwise rows hand a unit on and neither make nor read it; a layer that is not pruned reads
    what it always read. The weights that a dead unit still has go too, which may leave others
    without input or output.

    Arguments:
        gains: (entries,) by layer's group, non-negative; groups that follow are found anew.

    Returns:
        The gains without the weights of dead units, and for every group that follows (n_units,)
        1 where the unit lives. What lives grows with what is kept, in every order.
    """
    chosen = {group: gain for group, gain in gains.items() if group.layers}
    following = list(dict.fromkeys(f for group in chosen for f in group.follows))
    if not following:
        return chosen
    wirings = {_place(g.slices[0]): _Wiring.of(g, gain) for g, gain in chosen.items()}
    alive = {g: torch.ones(g.size, dtype=torch.bool) for g in following}
    while True:
        before = {group: int(flags.sum()) for group, flags in alive.items()}
        for wiring in wirings.values():
            wiring.look(alive)
        for group in following:
            alive[group] = _living(group, alive[group], wirings)
        if all(int(flags.sum()) == before[group] for group, flags in alive.items()):
            break
    settled = {
        wiring.group: wiring.settled(gain, alive)
        for wiring, gain in zip(wirings.values(), chosen.values(), strict=True)
    }
    like = next(iter(chosen.values()))
    return settled | {group: flags.to(like) for group, flags in alive.items()}


@dataclass(eq=False)
class _Wiring:
    """Which outputs of a layer its kept weights connect to which inputs.

    `links` is (outputs, inputs), positive where a weight is kept; `makes` and `reads` say which
    rows and columns have one whose other end lives.
    """

    group: Group
    layer: Layer
    links: Tensor
    makes: Tensor
    reads: Tensor

    @classmethod
    def of(cls, group: Group, gain: Tensor) -> _Wiring:
        (layer,) = group.layers
        links = gain.view(layer.weight.shape).movedim((layer.out_dim, layer.in_dim), (0, 1))
        if links.dim() > 2:  # any of a kernel's places; a product is several times faster than amax
            links = links.flatten(2) @ links.new_ones(links.shape[2:].numel())
        return cls(group, layer, links, links.new_empty(0), links.new_empty(0))

    def look(self, alive: Mapping[Group, Tensor]) -> None:
        rows, columns = self.flags(alive)
        self.makes = (self.links @ columns.to(self.links)).cpu() > 0
        self.reads = (self.links.mT @ rows.to(self.links)).cpu() > 0

    def flags(self, alive: Mapping[Group, Tensor]) -> tuple[Tensor, Tensor]:
        """Which rows and which columns belong to units that live."""
        flags = [torch.ones(size, dtype=torch.bool) for size in self.links.shape]
        for group in self.group.follows:
            lives = torch.cat([alive[group], torch.ones(1, dtype=torch.bool)])
            for part in group.slices:
                if _of(part, self.layer) and part.dim in (self.layer.out_dim, self.layer.in_dim):
                    flags[int(part.dim == self.layer.in_dim)] &= lives[part.units]
        return flags[0], flags[1]

    def settled(self, gain: Tensor, alive: Mapping[Group, Tensor]) -> Tensor:
        """The gains of the layer's weights, those of dead units 0."""
        rows, columns = self.flags(alive)
        if bool(rows.all()) and bool(columns.all()):
            return gain
        shape = [1] * self.layer.weight.dim()
        shape[self.layer.out_dim], out = -1, gain.view(self.layer.weight.shape)
        out = out * rows.view(shape).to(gain)
        shape = [1] * self.layer.weight.dim()
        shape[self.layer.in_dim] = -1
        return (out * columns.view(shape).to(gain)).reshape(-1)


def _living(group: Group, alive: Tensor, wirings: Mapping[Place, _Wiring]) -> Tensor:
    made = torch.zeros(group.size, dtype=torch.bool)
    read = torch.zeros(group.size, dtype=torch.bool)
    for part in group.slices:
        if part.positions == 0 or part.units is None:
            continue
        wiring = wirings.get(_place(part))
        if wiring is not None and hands_on(wiring.layer):
            continue
        used = part.units >= 0
        if wiring is not None:  # a layer that is not pruned is used as ever
            used = used & (wiring.makes if part.makes else wiring.reads)
        (made if part.makes else read)[part.units[used]] = True
    return alive & made & read


def hands_on(layer: Layer) -> bool:
    """A depthwise layer: what it reads and what it makes is one unit."""
    return getattr(layer.module, "groups", 1) > 1


def _place(part: Slice) -> Place:
    return id(part.module), part.tensor


def _of(part: Slice, layer: Layer) -> bool:
    return part.module is layer.module and part.tensor == layer.tensor
