"""The guard: whatever runs inside, the network and the random streams are as before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module, mode: str = "eval") -> Iterator[None]:
    """Run forwards inside; afterwards the model is as it was.

    Modes are set back module by module, buffers (running statistics) and the states of
    torchmetrics are restored, the random streams of torch, CUDA, numpy and python continue where
    they were, `log` and `log_dict` of LightningModules are muted, and compiled parts run eagerly
    so that hooks see every call. Gradients that parameters already hold are not copied: take new
    ones with `torch.autograd.grad`, never with `backward`.

    Arguments:
        model: The network or LightningModule.
        mode: `eval` or `train`, for the time inside.
    """
    modes = [(module, module.training) for module in model.modules()]
    owned = [(module, dict(module._buffers)) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    metrics = [(m, _metric_state(m)) for m in model.modules() if _is_metric(m)]
    loggers = [module for module in model.modules() if hasattr(module, "log_dict")]
    muted = [(m, n, m.__dict__.get(n)) for m in loggers for n in ("log", "log_dict")]
    cuda = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    streams = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(cuda), torch.compiler.set_stance("force_eager"):
        try:
            model.train(mode == "train")
            for module, name, _ in muted:
                module.__dict__[name] = _silence
            yield
        finally:
            for module, training in modes:
                module.training = training
            for module, own_buffers in owned:  # a forward may put another tensor in their place
                module._buffers.clear()
                module._buffers.update(own_buffers)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for metric, state in metrics:
                metric.__dict__.update(state)
            for module, name, own in muted:
                module.__dict__.pop(name, None)
                if own is not None:
                    module.__dict__[name] = own
            random.setstate(streams[0])
            np.random.set_state(streams[1])


def _silence(*_: object, **__: object) -> None:
    """Takes the place of `log` while a network is only looked at."""


def _is_metric(module: nn.Module) -> bool:
    # torchmetrics keeps a network's running results in attributes, not in buffers
    return hasattr(module, "_defaults") and hasattr(module, "_update_count")


def _metric_state(metric: Any) -> dict[str, Any]:
    state = {name: _copied(getattr(metric, name)) for name in metric._defaults}
    kept = ("_computed", "_update_count", "_forward_cache", "_is_synced", "_cache")
    return state | {name: metric.__dict__[name] for name in kept if name in metric.__dict__}


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [item.clone() for item in value]
    return value.detach().clone()
