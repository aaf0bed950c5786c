"""Layers: plain convolutions and linear layers round parameters that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

PLAIN: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def plain_kind(layer: nn.Module) -> type[nn.Module]:
    """The class of torch that a layer works as.

    Raises:
        ValueError: The layer's forward is its own, so what it does is not known.
    """
    for kind in PLAIN:
        if isinstance(layer, kind) and all(
            getattr(getattr(layer, name, None), "__func__", None) is getattr(kind, name, None)
            for name in ("forward", "_conv_forward")
        ):
            return kind
    names = [base.__name__ for base in type(layer).__mro__]
    name = next((n for n in names if not n.startswith("Parametrized")), names[0])
    raise ValueError(f"its class {name} has a forward of its own.")


def linear(weight: nn.Parameter, bias: nn.Parameter | None = None) -> nn.Linear:
    """A linear layer with the very parameters given."""
    outputs, inputs = weight.shape
    # on no device: nothing is drawn, so random streams stay where they are
    made = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    made.weight = weight
    if bias is not None:
        made.bias = bias
    return made


def convolution(
    like: _ConvNd,
    weight: nn.Parameter,
    bias: nn.Parameter | None,
    groups: int,
    owned: Sequence[bool],
) -> _ConvNd:
    """A convolution with the very parameters given, on some axes strided and padded as another.

    Arguments:
        like: The other one.
        weight: (outputs, inputs / groups, *kernel).
        bias: (outputs,), or none.
        groups: Of the new one.
        owned: By spatial axis, whether stride, padding and dilation are those of the other; else
            1, 0 and 1.
    """
    own: Any = lambda values, other: tuple(  # noqa: E731
        value if mine else other for value, mine in zip(values, owned, strict=True)
    )
    padding = like.padding  # a word fits both: a kernel of one place needs no padding
    kind: Any = plain_kind(like)
    made: _ConvNd = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=own(like.stride, 1),
        padding=padding if isinstance(padding, str) else own(padding, 0),
        dilation=own(like.dilation, 1),
        groups=groups,
        bias=bias is not None,
        padding_mode=like.padding_mode if any(owned) else "zeros",
        device="meta",
    )
    made.weight = weight
    if bias is not None:
        made.bias = bias
    return made
