"""Factors as layers: a factored layer becomes two plain ones that run one after the other."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

from torch import nn
from torch.nn.modules.conv import _ConvNd

from lightning_prune.export.block_linear import BlockLinear
from lightning_prune.export.layers import convolution, linear, plain_kind
from lightning_prune.lowrank import (
    ClusteredFactors,
    ClusteredFolding,
    Factors,
    factors_of,
    folding_of,
)
from lightning_prune.network.copying import copied
from lightning_prune.network.successors import HOOKS, READERS, replaced


def export_factors(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    r"""Make two plain layers of every factored one: smaller, faster, and needing nothing of ours.

    A layer becomes `nn.Sequential` of an `encoder`, which has the groups of the layer times its
    slices and no bias, and a `decoder` with the layer's groups and bias. Stride, padding and
    dilation of an axis go to the one that has its kernel. The encoder of a linear layer with
    several slices is a `BlockLinear`; everything else is of torch alone. A layer that is used at
    several places is one layer afterwards, too. The parameters are those of the factors: frozen
    ones stay frozen, and with `inplace` an optimizer that holds them goes on with them.

    The names of the parameters change. Code of the model that reads the `weight` of a factored
    layer itself, instead of calling the layer, does not work with the result; layers within a
    module whose class says `reads_weights = True` stay factored, with a warning. Clusters become
    an encoder with zeros, which are no longer held.

    Arguments:
        model: Any module; it may be a factored layer itself.
        inplace: Change the model, not a copy.

    Returns:
        The copy, or the model; for a model that is a factored layer, what stands for it.

    Raises:
        ValueError: The model cannot be copied; or a factored layer has a forward or
            parametrizations of its own, or rank 0. The model is as it was, then.
    """
    if not inplace:
        model = copied(model)
    made = _successors(model)
    parents = [module for module in model.modules() if module not in made]
    for parent in parents:
        for kind, switches in READERS.items():
            if isinstance(parent, kind) and not made.keys().isdisjoint(parent.modules()):
                vars(parent).update(switches)
    for parent in parents:
        for name, value in vars(parent).items():  # children, and layers in lists of the model's own
            vars(parent)[name] = replaced(value, made)
    return made.get(model, model)


def split_factors(layer: nn.Module) -> nn.Sequential:
    """Encoder and decoder of a layer with `Factors`, on its very parameters.

    Raises:
        ValueError: The layer's forward is its own, or its rank is 0.
    """
    folding = folding_of(layer)
    assert folding is not None
    kind, groups, bias = plain_kind(layer), folding.groups, cast("Any", layer.bias)
    encoder, decoder = factors_of(layer)
    if not encoder.shape[0]:
        raise ValueError("its rank is 0, and torch has no layers without channels.")
    slices = folding.slices
    if isinstance(folding, ClusteredFolding):  # with zeros, as torch has no layer for clusters
        spread = folding.spread(encoder.detach())
        encoder, slices = nn.Parameter(spread, requires_grad=encoder.requires_grad), 1
    first: nn.Module
    second: nn.Module
    if kind is nn.Linear:
        first = BlockLinear(encoder, slices) if slices > 1 else linear(encoder)
        second = linear(decoder, bias)
    else:
        like, owned = cast("_ConvNd", layer), folding.encoded
        first = convolution(like, encoder, None, groups * slices, owned)
        second = convolution(like, decoder, bias, groups, [not mine for mine in owned])
    return nn.Sequential(OrderedDict(encoder=first, decoder=second))


# by the class of the parametrization of a weight, who makes plain layers of the layer
SPLITTERS: dict[type[nn.Module], Callable[[nn.Module], nn.Module]] = {
    Factors: split_factors,
    ClusteredFactors: split_factors,
}


def _successors(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """By factored layer what takes its place; nothing is changed yet."""
    made = {}
    left = {
        layer: type(reader).__name__
        for reader in model.modules()
        if getattr(reader, "reads_weights", False)
        for layer in reader.modules()
        if folding_of(layer) is not None
    }
    if left:
        warnings.warn(
            f"{len(left)} layers stay factored, because {', '.join(sorted(set(left.values())))} "
            "reads their weights itself: the model stays as small and becomes no faster.",
            stacklevel=3,
        )
    for name, layer in model.named_modules():
        if layer in left:
            continue
        try:
            successor = split(layer)
        except ValueError as error:
            raise ValueError(f"The layer {name!r} cannot be exported: {error}") from None
        if successor is not None:
            made[layer] = successor.train(layer.training)
            for hooks in HOOKS:
                setattr(successor, hooks, getattr(layer, hooks))
    return made


def split(layer: nn.Module) -> nn.Module | None:
    """The plain layers that a factored one becomes, on its very parameters; None: it is plain.

    Raises:
        ValueError: It is more than its factors, or of a kind that has no plain layers.
    """
    if folding_of(layer) is None:
        return None
    held = cast("nn.ModuleDict", layer.parametrizations)
    kinds = [type(part) for part in cast("nn.ModuleList", held["weight"])]
    if len(kinds) > 1 or set(held) != {"weight"}:
        raise ValueError("it has other parametrizations, too; remove them first.")
    if kinds[0] not in SPLITTERS:
        raise ValueError(f"nothing makes plain layers of {kinds[0].__name__}.")
    return SPLITTERS[kinds[0]](layer)
