"""Cuts: units taken out of every tensor that has a part in them, and put back if need be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.network.groups import Group
from lightning_prune.thinning.sizes import resize

Place = tuple[nn.Module, str]  # a module and the name of its tensor
Kept = dict[Place, dict[int, Tensor]]  # by dimension, the indices that stay


def kept_indices(gone: Mapping[Group, Tensor]) -> Kept:
    """By tensor and dimension, the old indices that stay; tensors that lose nothing are left out.

    Arguments:
        gone: By group, (n_units,) bool.
    """
    left: dict[Place, dict[int, Tensor]] = {}
    for group, flags in gone.items():
        if not bool(flags.any()):
            continue
        lost = torch.cat([flags.cpu(), torch.zeros(1, dtype=torch.bool)])
        for part in group.slices:
            if part.dim is None or part.units is None:
                continue
            stays = ~lost[part.units]
            dims = left.setdefault((part.module, part.tensor), {})
            dims[part.dim] = dims[part.dim] & stays if part.dim in dims else stays
    return {
        place: {dim: flags.nonzero()[:, 0] for dim, flags in dims.items()}
        for place, dims in left.items()
        if not all(bool(flags.all()) for flags in dims.values())
    }


def taken(tensor: Tensor, dims: Mapping[int, Tensor]) -> Tensor:
    """The kept indices of a tensor, in memory of its own."""
    for dim, indices in dims.items():
        tensor = tensor.index_select(dim, indices.to(tensor.device))
    return tensor.contiguous()


@dataclass(eq=False)
class Cut:
    """A cut that was made, with what it takes to undo it.

    Arguments:
        model: That was cut.
        kept: What stayed of every tensor.
        renewed: By parameter of before, the one in its place.
        dims: By parameter and buffer of before that got smaller, what stayed of it.
    """

    model: nn.Module
    kept: Kept
    renewed: dict[nn.Parameter, nn.Parameter] = field(default_factory=dict)
    dims: dict[Tensor, Mapping[int, Tensor]] = field(default_factory=dict)
    _before: list[tuple[nn.Module, dict[str, Any]]] = field(default_factory=list)

    def undo(self) -> None:
        """Give every module back what it had."""
        for module, own in reversed(self._before):
            vars(module).clear()
            vars(module).update(own)
        self._before.clear()

    def remember(self, module: nn.Module) -> None:
        """Note what a module has now, before it is changed."""
        own = dict(vars(module))
        for name in ("_parameters", "_buffers", "_modules"):
            own[name] = own[name].copy()
        self._before.append((module, own))


@torch.no_grad()
def cut(model: nn.Module, kept: Kept, folded: Mapping[nn.Module, Tensor]) -> Cut:
    """Take units out of a model, in place.

    Parameters that get smaller are new objects, tied ones one object as before; everything else
    stays the very same. Nothing of theirs is drawn, so random streams stay where they are.

    Arguments:
        model: The network.
        kept: What stays.
        folded: By layer, what is added to its bias before (outputs of before,).
    """
    done = Cut(model, kept)
    for layer, gain in folded.items():
        done.remember(layer)
        bias: Any = layer.bias
        # another object: the model as it was is still asked for
        fresh = nn.Parameter(bias.detach() + gain.to(bias), bias.requires_grad)
        _replace(model, done, {bias: fresh})
    new: dict[Tensor, Tensor] = {}
    for (module, name), dims in kept.items():
        old = getattr(module, name)
        new[old] = _smaller(old, dims)
        done.dims[_first(done, old)] = dims
    replace_tensors(done, new)
    return done


@torch.no_grad()
def replace_tensors(done: Cut, new: Mapping[Tensor, Tensor]) -> None:
    """Put tensors of other shapes in the places of those they stand for, tied ones too."""
    model = done.model
    shapes = {
        module: {name: tuple(getattr(module, name).shape) for name in names}
        for module, names in _holders(model, new).items()
    }
    for module in shapes:
        done.remember(module)
    _replace(model, done, new)
    for module, before in shapes.items():
        resize(module, before)


def _smaller(old: Tensor, dims: Mapping[int, Tensor]) -> Tensor:
    small = taken(old.detach(), dims)
    return nn.Parameter(small, old.requires_grad) if isinstance(old, nn.Parameter) else small


def _holders(model: nn.Module, tensors: Mapping[Tensor, Tensor]) -> dict[nn.Module, list[str]]:
    """Modules that hold one of the tensors, tied ones too, and its names there."""
    found: dict[nn.Module, list[str]] = {}
    for module in model.modules():
        own = {**module._parameters, **module._buffers}
        names = [name for name, tensor in own.items() if tensor is not None and tensor in tensors]
        if names:
            found[module] = names
    return found


def _replace(model: nn.Module, done: Cut, new: Mapping[Tensor, Tensor]) -> None:
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in list(own.items()):
                if tensor is not None and tensor in new:
                    own[name] = new[tensor]  # type: ignore[assignment]
    for old, fresh in new.items():
        if isinstance(old, nn.Parameter) and isinstance(fresh, nn.Parameter):
            done.renewed[_first(done, old)] = fresh


def _first(done: Cut, tensor: Any) -> Any:
    """The parameter of before that stands behind one that a cut has made; else the tensor."""
    return next((old for old, new in done.renewed.items() if new is tensor), tensor)
