"""Leftovers: what optimizers and snapshots remember, of what a cut has left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_prune.thinning.cut import Cut, taken
from lightning_prune.training.optimizers import parameters_of


@torch.no_grad()
def cut_optimizers(optimizers: Iterable[Optimizer], cut: Cut) -> list[str]:
    """Give living optimizers the smaller parameters, with what they remember of what stays.

    Groups, their options and schedulers stay. State in the shape of its parameter (momentum,
    second moments) is cut as the parameter was; tensors of other shapes (factored or flat state)
    cannot be, so the state of that parameter is forgotten.

    Returns:
        Notes, if any was.
    """
    notes = []
    for optimizer in optimizers:
        members = parameters_of(optimizer)
        for group in optimizer.param_groups:
            group["params"][:] = [cut.renewed.get(p, p) for p in group["params"]]
        cut_members = [p for p in members if p in cut.renewed and optimizer.state.get(p)]
        forgotten = 0
        if isinstance(optimizer, torch.optim.LBFGS) and any(p in cut.renewed for p in members):
            forgotten = len(optimizer.state)  # one flat history of all parameters
            optimizer.state.clear()
            optimizer._numel_cache = None
            cut_members = []
        for old in cut_members:
            state = optimizer.state.pop(old)
            if _fits(state, old):
                new = cut.renewed[old]
                optimizer.state[new] = {key: _cut(v, old, cut) for key, v in state.items()}
            else:
                forgotten += 1
        if forgotten:
            notes.append(
                f"{type(optimizer).__name__} keeps state that cannot be cut: it starts afresh for "
                "parameters that got smaller"
            )
    return notes


def cut_snapshot(
    snapshot: dict[str, Any],
    names: Mapping[str, Mapping[int, Tensor]],
    optimizers: Iterable[Optimizer],
    cut: Cut,
) -> None:
    """Cut what a run would rewind to; before the optimizers are.

    Arguments:
        snapshot: Of a rewind, changed in place.
        names: By name in the module's state, what stays of the tensor.
        optimizers: That still have the parameters of before.
        cut: Of the module.
    """
    weights = snapshot.get("weights", {})
    weights.update({n: taken(t, names[n]) for n, t in weights.items() if n in names})
    for optimizer, states in zip(optimizers, snapshot.get("optimizers", []), strict=False):
        for place, old in enumerate(parameters_of(optimizer)):
            if old in cut.dims and place in states:
                state = states[place]
                states[place] = (
                    {key: _cut(value, old, cut) for key, value in state.items()}
                    if _fits(state, old)
                    else {}
                )


def _fits(state: Mapping[str, Any], parameter: Tensor) -> bool:
    """Whether all that is remembered has the parameter's shape, or is one number."""
    return all(
        not isinstance(value, list | dict)
        and (not isinstance(value, Tensor) or not value.dim() or value.shape == parameter.shape)
        for value in state.values()
    )


def _cut(value: Any, old: Tensor, cut: Cut) -> Any:
    same = isinstance(value, Tensor) and value.dim() > 0 and value.shape == old.shape
    return taken(value, cut.dims[old]) if same and old in cut.dims else value
