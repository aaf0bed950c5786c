"""Statistics: the running means and variances of norms, estimated anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lightning_prune.network.untouched import untouched


def norms_with_statistics(model: nn.Module) -> list[_NormBase]:
    """The norms whose evaluation uses running statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    ]


def renew_statistics(
    model: nn.Module, batches: Iterable[Any], run: Callable[[Any, int], Any]
) -> int:
    """Estimate the running statistics of all norms anew, on a network that was changed.

    Norms normalise by their batch meanwhile, everything else is in eval mode; the statistics are
    the plain means over the batches. Nothing else in the model, and no random stream, changes.

    Arguments:
        model: The network.
        batches: To look at; without any the statistics stay as they are.
        run: (batch, index) -> anything; runs the network.

    Returns:
        How many norms have new statistics.
    """
    norms = norms_with_statistics(model)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    with untouched(model), torch.no_grad():
        momenta = [norm.momentum for norm in norms]
        try:
            for norm in norms:
                norm.train()
                norm.reset_running_stats()
                norm.momentum = None  # the mean over batches, not a moving one
            for index, batch in enumerate(batches):
                run(batch, index)
            for norm in norms:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                found.append((norm.running_mean.clone(), norm.running_var.clone()))
            reached = [bool(norm.num_batches_tracked) for norm in norms]
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    for norm, statistics, seen in zip(norms, found, reached, strict=True):
        if seen:
            norm.running_mean.copy_(statistics[0])  # type: ignore[union-attr]
            norm.running_var.copy_(statistics[1])  # type: ignore[union-attr]
    return sum(reached)
