"""Reshapes: which labels a tensor carries whose dimensions were merged and split."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lightning_prune.network.calls import Call, Known, Latent, Rules
from lightning_prune.network.labels import LARGEST, Dims, Ids, free, is_free


def reshape(call: Call) -> Rules:
    """Merged and split dimensions; also those of size 1 that come and go."""
    tensor, out = call.inputs[0], call.outputs[0]
    known = call.known(tensor)
    dims, lost = _regroup(call, tensor.shape, out.shape, known.dims)
    return [Known(dims, known.source, known.whole, known.latent + lost)]


def _regroup(
    call: Call, before: Sequence[int], after: Sequence[int], dims: Dims
) -> tuple[Dims, Latent]:
    """Labels of a reshaped tensor, group by group of dimensions with equal products.

    Labels that no dimension of the new shape can carry alone come back apart.
    """
    result: list[Ids | None] = [None] * len(after)
    if list(before) == list(after):
        return dims, ()
    if 0 in before:
        return tuple(result), ()
    lost = [
        (ids, f"{call.name} drops their dimension")
        for ids, size in zip(dims, before, strict=True)
        if size == 1 and ids is not None
    ]
    for olds, news in _groups(before, after):
        own = {d: ids for d in olds if (ids := dims[d]) is not None}
        labelled = {d: ids for d, ids in own.items() if not is_free(ids)}
        if len(olds) == 1 and len(news) == 1:
            result[news[0]] = dims[olds[0]]
        elif not labelled and own:
            for new in news:
                result[new] = free(after[new])
        elif len(labelled) == 1 and math.prod(before[d] for d in olds) <= LARGEST:
            shape = [-1 if d in labelled else 1 for d in olds]
            (ids,) = labelled.values()
            grid = np.broadcast_to(ids.reshape(shape), [before[d] for d in olds])
            lines = _lines(grid.reshape([after[d] for d in news]))
            if lines is None:
                lost.append((ids, f"{call.name} splits them"))
            else:
                result[news[lines[0]]] = lines[1]
        else:
            lost += [(ids, f"{call.name} merges them with others") for ids in labelled.values()]
    return tuple(result), tuple(lost)


def _lines(grid: Ids) -> tuple[int, Ids] | None:
    """The one axis along which labels change, and the labels along it."""
    for axis in range(grid.ndim):
        lines = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
        if bool((lines == lines[:, :1]).all()):
            return axis, lines[:, 0].copy()
    return None


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Runs of old and of new dimensions that hold the same entries; sizes of 1 left out."""
    olds = [d for d, size in enumerate(before) if size != 1]
    news = [d for d, size in enumerate(after) if size != 1]
    groups = []
    while olds:
        left, right = [olds.pop(0)], [news.pop(0)]
        while (a := math.prod(before[d] for d in left)) != (
            b := math.prod(after[d] for d in right)
        ):
            if a < b:
                left.append(olds.pop(0))
            else:
                right.append(news.pop(0))
        groups.append((left, right))
    return groups
