"""Averaged weights: what an average of a pruned network keeps must be pruned too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn


def averaged_models(callbacks: Iterable[object]) -> list[nn.Module]:
    """The averages that other callbacks hold (EMA, SWA), whatever package they come from."""
    found = [getattr(callback, "_average_model", None) for callback in callbacks]
    return [average for average in found if isinstance(average, nn.Module)]


@torch.no_grad()
def mask_averages(
    model: nn.Module, callbacks: Iterable[object], held: Mapping[nn.Parameter, Tensor]
) -> None:
    """Multiply the averages by the masks, once an event.

    An average of zeros stays zero, so this holds until the next event, in either callback order.
    """
    names = {name: held[p] for name, p in model.named_parameters() if p in held}
    for average in averaged_models(callbacks):
        wrapped = isinstance(average, torch.optim.swa_utils.AveragedModel)
        inner = cast("nn.Module", average.module if wrapped else average)
        parameters = dict(inner.named_parameters())
        for name, mask in names.items():
            if name in parameters:
                parameters[name].mul_(mask.to(parameters[name].device))
