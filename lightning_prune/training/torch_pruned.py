"""Weights that `torch.nn.utils.prune` has split into originals and masks, as plain weights."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_prune.training.checkpoints import check_checkpoint


def import_torch_pruned(source: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """A state with plain weights, from one in which `torch.nn.utils.prune` has split them.

    Wherever there are both `name_orig` and `name_mask`, of one shape, and no `name`, they become
    `name`, their product, at the place it has in an unpruned module; anything else stays as it
    is, buffers called `attn_mask` too.

    Arguments:
        source: A state dict; or a checkpoint file, also one of Lightning's, of which the state of
            the model is taken. Files are loaded safely: nothing in them is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is torn, or holds more than safe loading admits.
    """
    state = source if isinstance(source, Mapping) else _read(source)
    pruned = {}
    for key, original in state.items():
        name = key.removesuffix("_orig")
        mask = state.get(f"{name}_mask") if name != key else None
        if not (isinstance(original, Tensor) and isinstance(mask, Tensor)) or name in state:
            continue
        if original.shape == mask.shape:
            pruned[name] = original * mask.to(original.dtype)
    split = {f"{name}_{half}" for name in pruned for half in ("orig", "mask")}
    plain: dict[str, Any] = {}
    for key, value in state.items():
        # torch moved them behind what was not pruned, such as the bias of the same module
        owner = key.rpartition(".")[0]
        plain |= {
            n: v for n, v in pruned.items() if n.rpartition(".")[0] == owner and n not in plain
        }
        if key not in split:
            plain[key] = value
    return plain


def _read(path: str | Path) -> Mapping[str, Any]:
    try:
        content = torch.load(check_checkpoint(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"The checkpoint {str(path)!r} holds more than tensors, numbers, strings, lists and "
            "dicts, and nothing of it was loaded; save its state_dict alone."
        ) from error
    return content.get("state_dict", content)
