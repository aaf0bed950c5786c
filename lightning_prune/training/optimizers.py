"""Optimizers: removed weights neither come back through them nor count in their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


def raw_optimizer(optimizer: Any) -> Optimizer:
    """The torch optimizer inside a wrapper, or the optimizer itself."""
    return getattr(optimizer, "optimizer", optimizer)


def after_every_step(optimizer: Optimizer, action: Callable[[Optimizer], None]) -> RemovableHandle:
    """Call `action(optimizer)` after every step, before anything else looks at the weights.

    Raises:
        ValueError: The optimizer has no step hooks.
    """
    register = getattr(optimizer, "register_step_post_hook", None)
    if register is None:
        raise ValueError(
            f"{type(optimizer).__name__} has no hook after its step, so pruned weights could not "
            "be held at zero; use a torch.optim optimizer."
        )
    return register(lambda stepped, *_: action(stepped))


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """All parameters of all groups."""
    return [p for group in optimizer.param_groups for p in group["params"]]


@torch.no_grad()
def clear_removed(optimizer: Optimizer, held: Mapping[nn.Parameter, Tensor]) -> list[str]:
    """Forget what the optimizer remembers of removed entries.

    State in the parameter's shape (momentum, second moments) is multiplied by the mask. Other
    tensors (flat, factored or quantised state, the directions of LBFGS) cannot be, so the state
    of that parameter is cleared.

    Returns:
        A note, if any state was cleared.
    """
    members = parameters_of(optimizer)
    if not any(parameter in held for parameter in members):
        return []
    cleared = 0
    for parameter in members:
        state = optimizer.state.get(parameter)
        if not state:
            continue
        tensors = list(_tensors(state.values()))
        foreign = [t for t in tensors if t.dim() > 0 and t.shape != parameter.shape]
        spans = any(t.numel() > parameter.numel() for t in foreign) or _flat(optimizer)
        if foreign and (parameter in held or spans):
            optimizer.state[parameter] = {}
            if _flat(optimizer):
                optimizer.state.pop(parameter)
            cleared += 1
        elif parameter in held:
            for tensor in tensors:
                if tensor.shape == parameter.shape:
                    tensor.mul_(held[parameter].to(tensor.dtype))
    if not cleared:
        return []
    return [f"{type(optimizer).__name__} keeps state that cannot be masked: it starts afresh"]


def _flat(optimizer: Optimizer) -> bool:
    return isinstance(optimizer, torch.optim.LBFGS)


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def refill(optimizers: list[Optimizer], made: Any) -> None:
    """Fill the groups of living optimizers as a second `configure_optimizers` would.

    The optimizer objects, their hyper-parameters, the states of parameters that survive, and the
    schedulers stay.

    Arguments:
        optimizers: The living ones.
        made: What `configure_optimizers` returned just now, in any of its forms.

    Raises:
        ValueError: It made another number of optimizers or groups than before.
    """
    fresh = (
        made[0]
        if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], list)
        else made
    )
    several = list(fresh) if isinstance(fresh, list | tuple) else [fresh]
    news = [raw_optimizer(new["optimizer"] if isinstance(new, dict) else new) for new in several]
    if len(news) != len(optimizers):
        raise ValueError("configure_optimizers made another number of optimizers than before.")
    for old, new in zip(optimizers, news, strict=True):
        if len(old.param_groups) != len(new.param_groups):
            raise ValueError("configure_optimizers made another number of groups than before.")
        before = set(parameters_of(old))
        for group, like in zip(old.param_groups, new.param_groups, strict=True):
            group["params"][:] = like["params"]  # LBFGS keeps the list itself
            if "param_names" in like:
                group["param_names"] = like["param_names"]
        living = set(parameters_of(old))
        for parameter in [p for p in old.state if p not in living]:
            del old.state[parameter]
        if _flat(old) and living != before:
            old.state.clear()
            old._numel_cache = None  # type: ignore[attr-defined]
