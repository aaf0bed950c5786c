"""Double precision: a model's forward in float64, after which the model is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


@contextmanager
def in_double(model: nn.Module) -> Iterator[None]:
    """Inside, every floating parameter, buffer and argument of a module is float64.

    The parameters inside are others, so optimizers and whoever holds the model's own see nothing
    of it; ties between them are kept.
    """
    owned = [
        (module, dict(module._parameters), dict(module._buffers)) for module in model.modules()
    ]
    made: dict[int, Tensor] = {}

    def wide(tensor: Tensor | None) -> Any:
        if tensor is None or not tensor.is_floating_point() or tensor.layout != torch.strided:
            return tensor
        if id(tensor) not in made:
            double = tensor.detach().to(torch.float64, copy=True)
            is_parameter = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = (
                nn.Parameter(double, tensor.requires_grad) if is_parameter else double
            )
        return made[id(tensor)]

    def widen(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> Any:
        return tree_map(_as_double, (args, kwargs))

    handles = [m.register_forward_pre_hook(widen, with_kwargs=True) for m in model.modules()]
    try:
        for module, parameters, buffers in owned:
            for tensors, own in ((module._parameters, parameters), (module._buffers, buffers)):
                tensors.update({name: wide(tensor) for name, tensor in own.items()})
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, parameters, buffers in owned:
            module._parameters.update(parameters)
            module._buffers.update(buffers)


def _as_double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
