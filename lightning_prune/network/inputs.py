"""Inputs: an example of a network's inputs in another number of samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_prune.network.batches import batch_size


def resized(example: Any, batch: int) -> Any:
    """The example with so many samples: the first ones, or all of them again and again."""
    samples = batch_size(example)

    def change(value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.dim() == 0 or value.shape[0] != samples:
                return value  # no batch runs along it
            places = torch.arange(batch, device=value.device) % samples
            return value[places]
        if isinstance(value, dict):
            return {name: change(entry) for name, entry in value.items()}
        if isinstance(value, list | tuple):
            return tuple(change(entry) for entry in value)
        return value

    return change(example)
