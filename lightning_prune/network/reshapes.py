"""Reshapes: which labels a tensor carries whose dimensions were merged and split."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lightning_prune.network.calls import Call, Known, Rules
from lightning_prune.network.grids import SPLIT, Grid, line_grid
from lightning_prune.network.labels import Dims, Ids, free, is_free

MOST = 1 << 22  # entries of merged dimensions in which labels are looked for


def reshape(call: Call) -> Rules:
    """Merged and split dimensions; also those of size 1 that come and go."""
    tensor, out = call.inputs[0], call.outputs[0]
    known = call.known(tensor)
    if tensor.shape == out.shape:
        return [known]
    if 0 in tensor.shape:
        return [Known((None,) * out.dim(), known.source, known.whole, known.hidden)]
    found = _Regrouped(call.name, tensor.shape, out.shape, known.dims, known.grid)
    latent = known.latent + tuple(found.lost)
    return [Known(tuple(found.dims), known.source, known.whole, latent, found.grid)]


class _Regrouped:
    """Labels of a reshaped tensor, group by group of dimensions with equal products.

    Labels that no dimension of the new shape can carry alone are a grid over several, if they are
    of one split dimension, or else lost.
    """

    def __init__(
        self,
        name: str,
        before: Sequence[int],
        after: Sequence[int],
        olds: Dims,
        grid: Grid | None,
    ) -> None:
        self.before, self.after = before, after
        self.dims: list[Ids | None] = [None] * len(after)
        self.lost = [
            (ids, f"{name} drops their dimension")
            for ids, size in zip(olds, before, strict=True)
            if size == 1 and ids is not None
        ]
        self.grid = grid
        places: dict[int, int | None] = {}  # dimensions that are as before
        for group, news in _groups(before, after):
            own = {d: ids for d in group if (ids := olds[d]) is not None}
            labelled = {d: ids for d, ids in own.items() if not is_free(ids)}
            axes = [d for d in group if self.grid is not None and self.grid.axis(d) is not None]
            if len(group) == 1 and len(news) == 1:
                self.dims[news[0]] = olds[group[0]]
                places[group[0]] = news[0]
            elif axes:
                self._split(group, news, axes[0] if len(axes) == 1 and not labelled else None)
            elif not labelled and own:
                for new in news:
                    self.dims[new] = free(after[new])
            elif len(labelled) == 1 and math.prod(before[d] for d in group) <= MOST:
                self._line(group, news, *labelled.items())
            else:
                self.lost += [(ids, f"{name} merges them with others") for ids in labelled.values()]
        if self.grid is not None:
            self.grid = self.grid.moved(places | {_new(dim): dim for dim in range(len(after))})

    def _line(self, group: list[int], news: list[int], labelled: tuple[int, Ids]) -> None:
        """One labelled dimension: one of the new ones may still carry the labels alone."""
        dim, ids = labelled
        seen = self._seen(group, news, dim)
        lines = _lines(ids[seen])
        if lines is not None:
            self.dims[news[lines[0]]] = lines[1]
        elif self.grid is None:
            self.grid = line_grid(ids, dim)
            self._split(group, news, dim)
        else:
            self.lost.append((ids, SPLIT))

    def _split(self, group: list[int], news: list[int], dim: int | None) -> None:
        """A dimension of the grid among others that have no labels."""
        assert self.grid is not None
        found = None
        if dim is not None and math.prod(self.before[d] for d in group) <= MOST:
            seen = self._seen(group, news, dim)
            found = self.grid.split(dim, seen, [_new(new) for new in news])
        if found is None:
            self.lost.append((self.grid.whole.reshape(-1), SPLIT))
        self.grid = found

    def _seen(self, group: list[int], news: list[int], dim: int) -> Ids:
        """The index along an old dimension at every place of the new ones."""
        line = np.arange(self.before[dim]).reshape([-1 if d == dim else 1 for d in group])
        grid = np.broadcast_to(line, [self.before[d] for d in group])
        return grid.reshape([self.after[new] for new in news])


def _new(dim: int) -> int:
    """A dimension of the new shape, told from those of the old one."""
    return -1 - dim


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
