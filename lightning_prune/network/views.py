"""Views: what becomes of labels when a tensor is moved, cut, joined or padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_prune.network.calls import Call, Known, Rules
from lightning_prune.network.grids import joined
from lightning_prune.network.labels import FOREIGN, Dims, Ids, foreign, free

MIXED = "mixes them with channels that no layer made"


def same(call: Call) -> Rules:
    """A copy, cast or alias."""
    known = call.known(call.inputs[0])
    return [known for _ in call.outputs]


def transpose(call: Call) -> Rules:
    """Dimensions in another order."""
    known = call.known(call.inputs[0])
    order = list(range(len(known.dims)))
    if call.name == "permute":
        order = [d % len(order) for d in call.arguments["dims"]]
    elif call.name == "transpose":
        a, b = call.arguments["dim0"], call.arguments["dim1"]
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()  # t
    dims = tuple(known.dims[d] for d in order)
    grid = known.grid and known.grid.moved({old: new for new, old in enumerate(order)})
    return [Known(dims, known.source, known.whole, known.latent, grid)]


def expand(call: Call) -> Rules:
    """Size 1 repeated, and new leading dimensions."""
    tensor, out = call.inputs[0], call.outputs[0]
    known = call.known(tensor)
    dims: list[Ids | None] = [None] * (out.dim() - tensor.dim())
    for ids, before, after in zip(
        known.dims, tensor.shape, out.shape[out.dim() - tensor.dim() :], strict=True
    ):
        if before != after:
            call.labels.pin(ids, "expand repeats them")
        dims.append(ids if before == after else None)
    grid = known.grid
    if grid is not None:
        new = out.dim() - tensor.dim()
        for dim, before in enumerate(tensor.shape):
            if before != out.shape[new + dim]:
                grid = grid.taken(dim, np.zeros(out.shape[new + dim], np.int64))
        grid = grid.shifted(new)
    return [Known(tuple(dims), known.source, known.whole, grid=grid)]


def repeat(call: Call) -> Rules:
    """Every dimension tiled."""
    known, repeats = call.known(call.inputs[0]), call.arguments["repeats"]
    new = len(repeats) - len(known.dims)
    tiled = [
        None if ids is None else np.tile(ids, times)
        for ids, times in zip(known.dims, repeats[new:], strict=True)
    ]
    return [Known((*[None] * new, *tiled))]


def take(call: Call) -> Rules:
    """Some indices of one dimension: slices, flips and lists of indices."""
    tensor = call.inputs[0]
    known = call.known(tensor)
    chosen = _chosen(call, tensor)
    if chosen is None:
        call.pin(call.inputs, f"{call.name} picks single entries of them")
        return []
    dim, picked = chosen
    ids = known.dims[dim]
    dims = [*known.dims]
    dims[dim] = None if ids is None else ids[picked]
    whole = known.whole and len(picked) == tensor.shape[dim]
    grid = known.grid and known.grid.taken(dim, picked)
    return [Known(tuple(dims), known.source, whole, grid=grid)]


def select(call: Call) -> Rules:
    """One index of a dimension, or each in turn, after which the dimension is gone."""
    known = call.known(call.inputs[0])
    dim = call.arguments["dim"] % len(known.dims)
    ids = known.dims[dim]
    if ids is not None and call.name == "select":
        index = call.arguments["index"]
        ids = ids[index : index + 1 or None]
    call.labels.pin(ids, f"{call.name} takes them one by one")
    dims = [*known.dims]
    del dims[dim]
    left = [old for old in range(len(known.dims)) if old != dim]
    grid = known.grid and known.grid.moved({old: new for new, old in enumerate(left)})
    return [Known(tuple(dims), known.source, whole=False, grid=grid) for _ in call.outputs]


def split(call: Call) -> Rules:
    """Consecutive parts of a dimension."""
    known = call.known(call.inputs[0])
    dim = call.arguments["dim"] % len(known.dims)
    ids = known.dims[dim]
    parts: Rules = []
    start = 0
    for out in call.outputs:
        dims = [*known.dims]
        dims[dim] = None if ids is None else ids[start : start + out.shape[dim]]
        grid = known.grid and known.grid.taken(dim, slice(start, start + out.shape[dim]))
        start += out.shape[dim]
        whole = known.whole and len(call.outputs) == 1
        parts.append(Known(tuple(dims), known.source, whole, grid=grid))
    return parts


def cat(call: Call) -> Rules:
    """Tensors behind one another along a dimension."""
    out = call.outputs[0]
    parts = [tensor for tensor in call.inputs if tensor.dim() == out.dim()]  # legacy: empty ones
    dim = call.arguments["dim"] % out.dim()
    dims = aligned(call, out.shape, call.shown(parts), skip=dim)
    along = [call.known(part).dims[dim] for part in parts]
    if any(ids is not None for ids in along):
        pieces = [
            foreign(part.shape[dim]) if ids is None else ids
            for part, ids in zip(parts, along, strict=True)
        ]
        dims[dim] = np.concatenate(pieces)
    found = [call.known(part) for part in parts]
    grid = joined([known.grid for known in found], dim)
    latent = [lost for known in found for lost in (known.hidden if grid is None else known.latent)]
    return [Known(tuple(dims), latent=tuple(latent), grid=grid)]


def stack(call: Call) -> Rules:
    """Tensors behind one another along a new dimension."""
    dims = aligned(call, call.inputs[0].shape, call.shown(call.inputs))
    dims.insert(call.arguments["dim"] % (len(dims) + 1), None)
    return [Known(tuple(dims))]


def pad(call: Call) -> Rules:
    """Constants at the ends; negative amounts cut."""
    known, amounts = call.known(call.inputs[0]), call.arguments["pad"]
    dims = [*known.dims]
    for place in range(len(amounts) // 2):
        ids, (low, high) = dims[-1 - place], amounts[2 * place : 2 * place + 2]
        if ids is not None:
            ids = ids[max(0, -low) : len(ids) - max(0, -high)]
            dims[-1 - place] = np.concatenate([free(max(0, low)), ids, free(max(0, high))])
    return [Known(tuple(dims))]


def cut_gradient(call: Call) -> Rules:
    """The gradient of a slice or of one index: zeros around it."""
    known, sizes = call.known(call.inputs[0]), call.arguments["input_sizes"]
    dim = call.arguments["dim"] % len(sizes)
    dims, line = [*known.dims], free(sizes[dim])
    if call.name == "select_backward":
        line[call.arguments["index"]] = FOREIGN
        dims.insert(dim, line)
    else:
        ids = dims[dim]
        step = _range(call, sizes[dim])
        line[step] = foreign(len(line[step])) if ids is None else ids
        dims[dim] = line
    return [Known(tuple(dims))]


def aligned(
    call: Call,
    shape: Sequence[int],
    parts: Sequence[tuple[Sequence[int], Dims]],
    skip: int | None = None,
) -> list[Ids | None]:
    """Labels by dimension of `shape`, tied together over all that broadcasts to it.

    Arguments:
        call: The operator that combines them.
        shape: Of the result.
        parts: Shape and labels of every operand.
        skip: A dimension to leave out.
    """
    dims: list[Ids | None] = []
    for place, size in enumerate(shape):
        met: list[Ids | None] = []
        for own_shape, own_dims in parts:
            own = place - len(shape) + len(own_shape)
            if own < 0 or place == skip:
                continue
            if own_shape[own] == size:
                met.append(own_dims[own])
            else:
                call.labels.pin(own_dims[own], f"{call.name} spreads them over others")
        if size == 1:
            met = [ids for ids in met if ids is not None]
        ids = met[0] if met else None
        for other in met[1:]:
            ids = call.labels.merge(ids, other, f"{call.name} {MIXED}")
        dims.append(ids)
    return dims


def _chosen(call: Call, tensor: Tensor) -> tuple[int, Ids] | None:
    """The dimension and the indices that are taken; None: entries are picked one by one."""
    arguments: dict[str, Any] = call.arguments
    if call.name == "index":
        given = [(d, index) for d, index in enumerate(arguments["indices"]) if index is not None]
        if len(given) != 1 or given[0][1].dim() != 1:
            return None
        dim, index = given[0]
        numbers = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        return dim, numbers.cpu().numpy()
    if call.name == "flip":
        if len(arguments["dims"]) != 1:
            return None
        dim = arguments["dims"][0] % tensor.dim()
        return dim, np.arange(tensor.shape[dim])[::-1]
    dim = arguments["dim"] % tensor.dim()
    if call.name == "index_select":
        return dim, arguments["index"].cpu().numpy().reshape(-1)
    return dim, np.arange(tensor.shape[dim])[_range(call, tensor.shape[dim])]


def _range(call: Call, size: int) -> slice:
    start, end, step = (call.arguments[name] for name in ("start", "end", "step"))
    return slice(*slice(start, end, step).indices(size))
