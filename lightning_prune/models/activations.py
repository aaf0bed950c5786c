"""Activations with their derivatives, for tangents that are carried along by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# name -> (function of the input, derivative from input and output)
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "tanh": (torch.tanh, lambda _, y: 1 - y * y),
    "sigmoid": (torch.sigmoid, lambda _, y: y * (1 - y)),
    "softplus": (F.softplus, lambda x, _: torch.sigmoid(x)),
    "relu": (F.relu, lambda x, _: (x > 0).to(x.dtype)),
}


def check_activation(name: str) -> str:
    """Refuse an activation whose derivative is not known.

    Raises:
        ValueError: If there is no activation of that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"There is no activation {name!r}; there are {', '.join(ACTIVATIONS)}.")
    return name
