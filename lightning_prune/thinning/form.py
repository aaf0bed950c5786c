"""Form: a model takes the shapes that its tensors have in a state, thinner or wider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.thinning.cut import Cut, replace_tensors
from lightning_prune.thinning.heads import fit_attentions


def take_shapes(model: nn.Module, shapes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Give tensors the shapes that they have elsewhere, and modules the numbers that follow.

    Their values are zeros, to be loaded. Parameters of another shape are new objects; tensors of
    another number of dimensions stay as they are.

    Arguments:
        model: Any.
        shapes: Names of tensors to shapes, or to tensors of those shapes.
        prefix: Of the model's names in it.

    Returns:
        The names of tensors that changed.
    """
    new: dict[Tensor, Tensor] = {}
    names = []
    for home, module in model.named_modules(remove_duplicate=False):
        for key, tensor in {**module._parameters, **module._buffers}.items():
            name = f"{home}.{key}" if home else key
            shape = shapes.get(prefix + name)
            if tensor is None or shape is None or tensor in new:
                continue
            wanted = tuple(getattr(shape, "shape", shape))
            if len(wanted) == tensor.dim() and wanted != tuple(tensor.shape):
                new[tensor] = _zeros(tensor, wanted)
                names.append(name)
    if new:
        done = Cut(model, {})
        replace_tensors(done, new)
        fit_attentions(done)
    return names


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    zeros = torch.zeros(shape, dtype=like.dtype, device=like.device)
    return nn.Parameter(zeros, like.requires_grad) if isinstance(like, nn.Parameter) else zeros
