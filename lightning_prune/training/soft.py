"""Soft events: of what leaves, only what was scored is set to zero, so that it can come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lightning_prune.network.groups import Group, Slice
from lightning_prune.structures import Mask, Structure
from lightning_prune.structures.extent import along


class Soft:
    """The weights before an event that holds nothing.

    A filter whose rows, norm and readers' columns are all zero has no gradient in any of them and
    would never come back. Soft filter pruning sets the rows to zero and nothing else, so the rest
    is given back after the event. Single weights, tiles and patterns have nothing else.

    References:
        | Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks (He et al., 2018)
        | https://arxiv.org/abs/1808.06866

    Arguments:
        module: Before the event.
    """

    @torch.no_grad()
    def __init__(self, module: nn.Module) -> None:
        self._before = {p: p.detach().clone() for p in module.parameters()}

    @torch.no_grad()
    def give_back(
        self, structure: Structure, groups: Iterable[Group], gone: Mapping[str, Tensor]
    ) -> None:
        """Undo the zeros that are not scored entries of units that left.

        Arguments:
            structure: Of the method; any but a `Mask` is left as it is.
            groups: Of the structure.
            gone: By group, (n_units,) floats, 0 where the unit left.
        """
        if not isinstance(structure, Mask):
            return
        left = {p: torch.zeros_like(p, dtype=torch.bool) for p in self._before}
        for group in groups:
            flags = gone[group.name]
            along_dims = [part for part in group.slices if part.dim is not None]
            for part in along_dims:
                if _scored(structure, group, part):
                    left[part.parameter] |= along(part, flags) == 0
            if not along_dims:  # the units are entries of the weight
                for tensor, factor in structure.factors(group, flags):
                    left[tensor] |= factor == 0  # type: ignore[index]
        for parameter, before in self._before.items():
            zeroed = (parameter == 0) & ~left[parameter]
            parameter.copy_(torch.where(zeroed, before, parameter))


def _scored(structure: Structure, group: Group, part: Slice) -> bool:
    return any(
        part.module is layer.module
        and part.tensor == layer.tensor
        and part.dim == structure.axis(layer)
        for layer in group.layers
    )
