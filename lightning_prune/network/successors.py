"""Successors: what goes on when a module takes the place of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

# what a caller has hung on a layer goes on with its successor
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)
# containers of torch that read the weights of their children in inference, and how they are told
# to call the children instead
READERS: Mapping[type[nn.Module], Mapping[str, Any]] = {
    nn.TransformerEncoderLayer: {"activation_relu_or_gelu": 0},
    nn.TransformerEncoder: {"use_nested_tensor": False},
}


def replaced(value: Any, made: Mapping[nn.Module, nn.Module]) -> Any:
    """A value of a module with successors of modules; lists and dicts are changed, one level."""
    if isinstance(value, nn.Module):
        return made.get(value, value)
    if not isinstance(value, list | tuple | dict):
        return value
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    new = {at: made[part] for at, part in pairs if isinstance(part, nn.Module) and part in made}
    if type(value) is tuple:
        return tuple(new.get(at, part) for at, part in enumerate(value))
    if not isinstance(value, tuple):
        for at, part in new.items():
            value[at] = part
    return value
