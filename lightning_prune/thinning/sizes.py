"""Sizes: the numbers that modules keep of the shapes of their tensors, and a forward reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Size = int | tuple[int, ...]
Sizes = dict[str, dict[str, Size]]

# by the names that torch gives them: what runs over outputs, and over inputs
OUTPUTS = ("out_features", "out_channels", "num_features", "num_channels", "num_parameters")
INPUTS = ("in_features", "in_channels")


def resize(module: nn.Module, before: Mapping[str, Sequence[int]]) -> None:
    """Set a module's own numbers to the shapes that its tensors have now.

    Arguments:
        module: Some of whose tensors were cut.
        before: By name of its tensors, their shapes before.
    """
    own: Any = module
    tensors = {**module._parameters, **module._buffers}
    shapes = {name: tensors[name].shape for name in before}  # type: ignore[union-attr]
    if isinstance(module, _ConvNd):
        if "weight" in shapes:
            _resize_convolution(own, before["weight"], shapes["weight"])
    elif isinstance(module, nn.GroupNorm):
        channels = next(iter(shapes.values()))[0]
        own.num_groups = own.num_groups * channels // own.num_channels
        own.num_channels = channels
    elif isinstance(module, _NormBase):
        own.num_features = next(iter(shapes.values()))[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        own.normalized_shape = tuple(next(iter(shapes.values())))
    else:
        _resize_named(own, before, shapes)


def _resize_convolution(conv: Any, before: Sequence[int], now: Sequence[int]) -> None:
    transposed = isinstance(conv, _ConvTransposeNd)
    if conv.groups > 1:  # whole groups left, each as wide as it was
        conv.groups = conv.groups * now[0] // before[0]
    apart = now[1] * conv.groups
    conv.in_channels, conv.out_channels = (now[0], apart) if transposed else (apart, now[0])


def _resize_named(
    module: Any, before: Mapping[str, Sequence[int]], now: Mapping[str, Sequence[int]]
) -> None:
    """Numbers of the usual names that are those of a tensor's first or second dimension."""
    for tensor, shape in now.items():
        for dim, names in ((0, OUTPUTS), (1, INPUTS)):
            for name in names:
                old = getattr(module, name, None)
                if dim < len(shape) and type(old) is int and old == before[tensor][dim]:
                    setattr(module, name, shape[dim])


def sizes_of(model: nn.Module) -> Sizes:
    """By name of the module, its whole numbers and tuples of them: plain, for a file of text."""
    found: Sizes = {}
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if _is_size(key, value)}
        if own:
            found[name] = own
    return found


def take_sizes(model: nn.Module, sizes: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the numbers of another time, where a module has numbers of these names."""
    modules = dict(model.named_modules())
    for name, own in sizes.items():
        for key, value in own.items():
            size = tuple(value) if isinstance(value, list | tuple) else value
            module = modules.get(name)
            if module is not None and _is_size(key, vars(module).get(key)):
                setattr(module, key, size)


def changed(before: Sizes, after: Sizes) -> Sizes:
    """The numbers of the second that are not those of the first."""
    return {
        name: {key: value for key, value in own.items() if before.get(name, {}).get(key) != value}
        for name, own in after.items()
        if own != before.get(name)
    }


def _is_size(name: str, value: object) -> bool:
    if name.startswith("_"):
        return False
    if isinstance(value, tuple):
        return bool(value) and all(type(entry) is int for entry in value)
    return type(value) is int
