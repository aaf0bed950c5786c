"""Norms: statistics over some dimensions, and a scale and shift for every channel."""

from __future__ import annotations

import numpy as np

from lightning_prune.network.calls import Call, Known, Rules
from lightning_prune.network.labels import Ids


def batch_norm(call: Call) -> Rules:
    """Channels (dimension 1) one by one; whatever is one-dimensional belongs to them."""
    size = call.inputs[0].shape[1]
    ids = call.known(call.inputs[0]).dims[1]
    for tensor in call.inputs:
        dims = call.known(tensor).dims
        if tensor.dim() == 1 and len(tensor) == size:
            ids = call.labels.merge(ids, dims[0], "they are of a norm on channels of no layer")
        for dim, own in enumerate(dims):
            if dim == 1:
                ids = call.labels.merge(ids, own, "they are of a norm on channels of no layer")
            elif tensor.dim() > 1:
                call.labels.pin(own, f"{call.name} runs over them")
    return [
        Known(tuple(ids if dim == min(1, out.dim() - 1) else None for dim in range(out.dim())))
        if size in out.shape[:2]
        else None
        for out in call.outputs
    ]


def group_norm(call: Call) -> Rules:
    """Channels that share their statistics are one unit, with their scale and shift."""
    x, groups = call.inputs[0], call.arguments["group"]
    if groups == 1:
        return layer_norm(call)
    if groups < x.shape[1]:
        lines = [call.known(tensor).dims[0] for tensor in call.inputs[1:]]
        grids = [_grid(ids, groups) for ids in (call.known(x).dims[1], *lines)]
        joined = [grid for grid in grids if grid is not None]
        if joined:
            why = "they share a group norm with channels of no layer"
            call.labels.join(np.concatenate(joined, axis=1), why)
        return batch_norm(call)[:1]  # statistics are of groups
    return batch_norm(call)


def layer_norm(call: Call) -> Rules:
    """Whatever it runs over has to stay."""
    x = call.inputs[0]
    dims, grid = call.known(x).dims, call.known(x).grid
    if call.name == "native_group_norm":
        over = range(1, x.dim())
    else:
        over = range(x.dim() - len(call.arguments["normalized_shape"]), x.dim())
    why = f"{call.name.removeprefix('native_')} runs over them"
    for dim in over:
        call.labels.pin(dims[dim], why)
    call.pin(call.inputs[1:], why)
    return [Known(dims, grid=grid and grid.fixing(over))]


def _grid(ids: Ids | None, groups: int) -> Ids | None:
    return None if ids is None else ids.reshape(groups, -1)
