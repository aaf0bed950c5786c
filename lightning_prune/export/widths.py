"""Widths: what a thin module is beside its tensors, as numbers and text, and put on a dense one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from lightning_prune.export.block_linear import BlockLinear
from lightning_prune.export.layers import PLAIN
from lightning_prune.network.layers import plain_name
from lightning_prune.network.successors import READERS, replaced
from lightning_prune.thinning.attention import SlimAttention
from lightning_prune.thinning.sizes import sizes_of, take_sizes

Widths = dict[str, Any]
PAIR = ["encoder", "decoder"]  # the layers that a factored one became
CONVOLUTION = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
    "padding_mode",
)  # fmt: skip
KINDS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (*PLAIN, BlockLinear)}


def own_tensors(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Name in the state, holder and own name of every parameter and buffer, also unsaved ones."""
    for home, module in model.named_modules():
        for key in (*module._parameters, *module._buffers):
            yield plain_name(f"{home}.{key}" if home else key), module, key


def widths_of(model: nn.Module) -> Widths:
    """What `take_widths` needs to make a dense network of the same code as thin as this one."""
    named = {plain_name(name): module for name, module in model.named_modules()}
    return {
        "class": type(model).__name__,
        "sizes": {plain_name(name): own for name, own in sizes_of(model).items()},
        "attentions": {
            name: {"heads": module.num_heads, "head_dim": module.head_dim}
            for name, module in named.items()
            if isinstance(module, SlimAttention)
        },
        "pairs": {
            name: {part: _arguments(child) for part, child in module.named_children()}
            for name, module in named.items()
            if _is_pair(module)
        },
        "switches": {
            name: {switch: getattr(module, switch) for switch in switches}
            for name, module in named.items()
            for kind, switches in READERS.items()
            if isinstance(module, kind)
        },
    }


def take_widths(module: nn.Module, widths: Widths) -> nn.Module:
    """Give a dense network other layers and numbers; tensors are not touched.

    Arguments:
        module: Dense, of the same code.
        widths: See `widths_of`.

    Returns:
        The module; another one if it is a factored layer itself.
    """
    for name, parts in widths["pairs"].items():
        module = _replace(module, name, lambda old, parts=parts: _pair(old, parts))
    for name, switches in widths["switches"].items():
        found = _find(module, name)
        if found is not None:
            vars(found).update(switches)
    real = {plain_name(name): name for name, _ in module.named_modules()}
    take_sizes(module, {real.get(name, name): own for name, own in widths["sizes"].items()})
    return module


def take_attentions(module: nn.Module, widths: Widths) -> nn.Module:
    """Attentions for fewer heads, in the places of torch's that have the tensors already."""
    for name, own in widths["attentions"].items():
        heads = int(own["heads"])
        slim = lambda old, heads=heads: (  # noqa: E731
            SlimAttention.from_attention(old, heads)
            if isinstance(old, nn.MultiheadAttention)
            else old
        )
        module = _replace(module, name, slim)
    return module


def _is_pair(module: nn.Module) -> bool:
    children = [type(child).__name__ for child in module.children()]
    return (
        type(module) is nn.Sequential
        and list(module._modules) == PAIR
        and all(name in KINDS for name in children)
    )


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """Of a plain layer, what its constructor takes."""
    found: dict[str, Any] = {"kind": type(layer).__name__}
    if isinstance(layer, _ConvNd):
        found |= {name: getattr(layer, name) for name in CONVOLUTION}
        return {**found, "bias": layer.bias is not None}
    if isinstance(layer, BlockLinear):
        return {**found, "blocks": layer.blocks}
    return {**found, "bias": layer.bias is not None}


def _pair(old: nn.Module, parts: Mapping[str, Mapping[str, Any]]) -> nn.Module:
    if type(old) is nn.Sequential:
        return old
    layers = OrderedDict((part, _layer(parts[part])) for part in PAIR)
    return nn.Sequential(layers).train(old.training)


def _layer(arguments: Mapping[str, Any]) -> nn.Module:
    """A plain layer whose tensors are still to come."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in arguments.items()
    }
    kind = KINDS[given.pop("kind")]
    if kind is BlockLinear:
        empty = torch.empty(given["blocks"], 1, device="meta")
        return BlockLinear(nn.Parameter(empty), given["blocks"])
    if kind is nn.Linear:
        given |= {"in_features": 1, "out_features": 1}
    return kind(**given, device="meta")


def _find(module: nn.Module, name: str) -> nn.Module | None:
    return {plain_name(n): m for n, m in module.named_modules()}.get(name)


def _replace(module: nn.Module, name: str, make: Any) -> nn.Module:
    """Put what `make` makes of a module in its place, wherever a parent holds it."""
    old = _find(module, name)
    if old is None:
        return module
    new = make(old)
    if new is not old:
        for parent in list(module.modules()):
            for key, value in vars(parent).items():  # children, and layers in lists of its own
                vars(parent)[key] = replaced(value, {old: new})
    return new if old is module else module
