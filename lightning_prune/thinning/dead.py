"""Dead units: which can leave a network without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.network.constants import (
    holds_constants,
    pads_zeros,
    read_constants,
    reader_slices,
)
from lightning_prune.network.groups import Group, Slice

Weight = tuple[int, str]  # a module and the name of its tensor
Known = dict[nn.Module, Tensor]  # by reader, the constants that it reads


@dataclass(eq=False)
class Dead:
    """Units that leave.

    Arguments:
        gone: By group, (n_units,) bool: what leaves.
        folded: By group and layer, (outputs,) float64, what the layer's bias gains from the
            group's constants.
        stays: By group and unit, why it stays though no layer makes it of anything.
    """

    gone: dict[Group, Tensor]
    folded: dict[tuple[Group, nn.Module], Tensor] = field(default_factory=dict)
    stays: dict[tuple[Group, int], str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(bool(flags.any()) for flags in self.gone.values())


def find_dead(model: nn.Module, groups: Sequence[Group], run: Callable[[], Any]) -> Dead:
    r"""Units that no layer reads, and those that are the same for every input.

    A unit without a reader's weight leaves. One whose rows are all zero is a constant c; where c
    is 0, or every reader can hold :math:`\sum_k W_{:,u,k} c` in its bias, it leaves too. What
    leaves takes weights with it, which may leave others without input or reader.

    A group is never emptied: of one that is dead as a whole, the first unit stays.

    Arguments:
        model: With zeros in its weights; it is left as it was.
        groups: All that may leave.
        run: Runs the model once, to see constants; called only if there are any.
    """
    dead = Dead({group: torch.zeros(group.size, dtype=torch.bool) for group in groups})
    links = {_key(part): _Links(part) for group in groups for part in _weights(group)}
    constants: Known = {}
    while True:
        found = False
        for group in groups:
            made, read = _made_and_read(group, links)
            there = ~dead.gone[group]
            if not bool((there & made & read).any()):
                there[there.nonzero()[0]] = False  # the one that stays
            leaving, constant = there & ~read, there & read & ~made
            if bool(constant.any()):
                _look(model, group, constants, run)
                leaving |= _folded(dead, group, constant, links, constants)
            if bool(leaving.any()):
                found = True
                dead.gone[group] |= leaving
                for part in _weights(group):
                    links[_key(part)].drop(part, dead.gone[group])
        if not found:
            return dead


class _Links:
    """Which outputs of a weight a non-zero entry connects to which inputs."""

    def __init__(self, part: Slice) -> None:
        weight = part.parameter.detach()
        if _transposed(part):
            weight = weight.movedim(1, 0)
        self.there = (weight.flatten(2) != 0).any(2) if weight.dim() > 2 else weight != 0
        self.there = self.there.cpu()
        self.hands_on = getattr(part.module, "groups", 1) > 1

    def along(self, part: Slice) -> Tensor:
        """(indices of the slice,) bool: whether any entry is left."""
        return self.there.any(1 if part.makes else 0)

    def drop(self, part: Slice, gone: Tensor) -> None:
        """Rows or columns of units that leave are no more."""
        assert part.units is not None
        lost = _spread(part.units, gone)
        if part.makes:
            self.there[lost] = False
        else:
            self.there[:, lost] = False


def _made_and_read(group: Group, links: Mapping[Weight, _Links]) -> tuple[Tensor, Tensor]:
    made = torch.zeros(group.size, dtype=torch.bool)
    read = torch.zeros(group.size, dtype=torch.bool)
    for part in _weights(group):
        link = links[_key(part)]
        if link.hands_on or part.units is None:
            continue
        used = link.along(part) & (part.units >= 0)
        (made if part.makes else read)[part.units[used]] = True
    return made, read


def _look(model: nn.Module, group: Group, constants: Known, run: Callable[[], Any]) -> None:
    """Know what the group's readers read."""
    readers = {part.module for part in reader_slices(group)} - constants.keys()
    if readers:
        constants |= read_constants(model, readers, run)


def _folded(
    dead: Dead,
    group: Group,
    constant: Tensor,
    links: Mapping[Weight, _Links],
    constants: Known,
) -> Tensor:
    """(n_units,) bool: which constants are 0, or can be held by all who read them."""
    fits = constant.clone()
    plain = {_key(part) for part in reader_slices(group)}
    columns: list[tuple[Slice, Tensor]] = []
    for part in _weights(group):
        if part.makes or links[_key(part)].hands_on or part.units is None:
            continue
        asked = links[_key(part)].along(part) & _spread(part.units, constant)
        values = constants.get(part.module) if _key(part) in plain else None
        refused = asked if values is None else asked & _refused(part.module, values.cpu())
        for unit in part.units[refused].unique().tolist():
            fits[unit] = False
            dead.stays[group, unit] = _why(part, values)
        columns.append((part, asked))
    for part, asked in columns:
        taken = asked & _spread(part.units, fits)
        values = constants.get(part.module)
        if values is None or not bool(taken.any()) or not bool(values.cpu()[taken].any()):
            continue
        weight = part.parameter.detach()
        weight = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
        there = taken.to(weight.device)
        gain = weight[:, there].double() @ values.to(weight.device)[there].double()
        place = group, part.module
        dead.folded[place] = dead.folded.get(place, torch.zeros_like(gain)) + gain
    return fits


def _refused(module: nn.Module, values: Tensor) -> Tensor:
    """(inputs,) bool: not a constant, or one that the layer's bias cannot hold."""
    return values.isnan() | ((values != 0) & (not holds_constants(module)))


def _why(part: Slice, values: Tensor | None) -> str:
    if values is None or not values.isfinite().any():
        return f"what it passes on is no constant where {part.name} reads it"
    if pads_zeros(part.module):
        return f"its constant is read by {part.name}, which has zeros around its input"
    if getattr(part.module, "bias", None) is None:
        return f"its constant is read by {part.name}, which has no bias to hold it"
    return f"what it passes on is no constant where {part.name} reads it"


def _weights(group: Group) -> Iterator[Slice]:
    return (part for part in group.slices if part.positions > 0 and part.dim is not None)


def _spread(units: Tensor | None, flags: Tensor) -> Tensor:
    """(indices,) bool: the flag of the unit that owns each index, False where none does."""
    assert units is not None
    return torch.cat([flags, torch.zeros(1, dtype=torch.bool)])[units]


def _transposed(part: Slice) -> bool:
    return bool(getattr(part.module, "transposed", False))


def _key(part: Slice) -> Weight:
    return id(part.module), part.tensor
