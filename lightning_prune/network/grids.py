"""Grids: labels of one dimension that a view has split into several axes, as heads are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from lightning_prune.network.labels import FREE, Ids, Labels

if TYPE_CHECKING:
    from lightning_prune.network.calls import Call

SPLIT = "view splits them"
APART = "their places within a split dimension are told apart"


@dataclass(frozen=True, eq=False)
class Grid:
    """A dimension that was split, of which one axis may shrink: then its units are that axis's.

    Which one is open until an operator needs to know. All labels that share an index along that
    axis are one unit then, those of parts that have gone other ways included: else the view could
    not split what is left.

    Arguments:
        whole: The labels as they were split, an axis for an axis.
        dims: By axis, the dimension of the tensor that shows it; None: it was selected or summed.
        picks: By axis, the indices that are shown.
        fixed: Axes along which something tells the indices apart, so that they cannot shrink.
    """

    whole: Ids
    dims: tuple[int | None, ...]
    picks: tuple[Ids, ...]
    fixed: frozenset[int] = frozenset()

    @property
    def shown(self) -> list[int]:
        """Axes that the tensor has."""
        return [axis for axis, dim in enumerate(self.dims) if dim is not None]

    def axis(self, dim: int) -> int | None:
        """The axis that a dimension of the tensor shows."""
        return self.dims.index(dim) if dim in self.dims else None

    def moved(self, places: Mapping[int, int | None]) -> Grid:
        """The same with dimensions of the tensor elsewhere; those that are not named are gone."""
        dims = tuple(None if dim is None else places.get(dim) for dim in self.dims)
        return dataclasses.replace(self, dims=dims)

    def shifted(self, by: int) -> Grid:
        """The same with so many dimensions before it."""
        return self.moved({dim: dim + by for dim in self.dims if dim is not None})

    def taken(self, dim: int, places: Ids | slice) -> Grid:
        """The same with some indices of a dimension."""
        axis, picks = self.axis(dim), [*self.picks]
        if axis is not None:
            picks[axis] = picks[axis][places]
        return dataclasses.replace(self, picks=tuple(picks))

    def fixing(self, dims: Iterable[int]) -> Grid:
        """The same with these dimensions unable to shrink."""
        axes = {axis for dim in dims if (axis := self.axis(dim)) is not None}
        return dataclasses.replace(self, fixed=self.fixed | axes)

    def collapsed(self, axis: int, labels: Labels) -> Ids:
        """Labels along an axis after all that share its index became one unit."""
        rows = np.moveaxis(self.whole, axis, 0).reshape(self.whole.shape[axis], -1)
        labels.join(rows, SPLIT)
        if axis in self.fixed:
            labels.pin(self.whole.reshape(-1), APART)
        return rows.max(1)[self.picks[axis]]

    def split(self, dim: int, seen: Ids, news: Sequence[int]) -> Grid | None:
        """The grid after a reshape around one of its dimensions; None: it cannot be followed.

        Arguments:
            dim: Of the tensor before.
            seen: The index along `dim` at every place of the new dimensions.
            news: What to call the new dimensions; those of other axes are as before.
        """
        axis = self.dims.index(dim)
        size, values = self.whole.shape[axis], self.picks[axis][seen]
        start = values.flat[0]
        offsets = [_line(values, place) - start for place in range(values.ndim)]
        if not offsets or not np.array_equal(sum(np.ix_(*offsets)) + start, values):
            return None
        own = [place for place, line in enumerate(offsets) if bool(line.any())]
        if len(own) == 1:
            shape, parts = [size], [offsets[own[0]] + start]
        else:
            steps = [np.unique(offsets[place]) for place in own]
            shape = [len(step) for step in steps]
            ends = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
            regular = all(
                np.array_equal(step, np.arange(len(step)) * end)
                for step, end in zip(steps, ends, strict=True)
            )
            if start != 0 or math.prod(shape) != size or not regular:
                return None
            parts = [np.searchsorted(s, offsets[p]) for s, p in zip(steps, own, strict=True)]
        return Grid(
            self.whole.reshape(*self.whole.shape[:axis], *shape, *self.whole.shape[axis + 1 :]),
            (*self.dims[:axis], *(news[place] for place in own), *self.dims[axis + 1 :]),
            (*self.picks[:axis], *parts, *self.picks[axis + 1 :]),
            frozenset(_spread(self.fixed, axis, len(own))),
        )


def line_grid(ids: Ids, dim: int) -> Grid:
    """A dimension that is about to be split."""
    return Grid(ids, (dim,), (np.arange(len(ids)),))


def meet(call: Call, shape: Sequence[int]) -> Grid | None:
    """The grid of the result where arguments broadcast to a shape and go entry by entry.

    Grids that do not fit, or meet labels, are settled: the arguments' dimensions have the labels
    then, and nothing comes back.
    """
    tensors = [tensor for tensor in call.inputs if call.known(tensor).grid is not None]
    grids = {id(t): _placed(call, t, len(shape)) for t in tensors}
    found = max(grids.values(), key=lambda grid: len(grid.shown), default=None)
    if found is None:
        return None
    fixed: set[int] = set()
    for tensor in call.inputs:
        own = grids.get(id(tensor))
        if own is not None and not _alike(call, found, own):
            return _settled(call, tensors)
        for axis in found.shown:
            dim = found.dims[axis]
            assert dim is not None
            place = dim - len(shape) + tensor.dim()
            size = tensor.shape[place] if place >= 0 else 1
            ids = call.known(tensor).dims[place] if place >= 0 else None
            if own is not None and own.dims[axis] == dim:
                if size != shape[dim]:
                    return _settled(call, tensors)
                if not np.array_equal(own.picks[axis], found.picks[axis]):
                    fixed.add(dim)
            elif ids is not None and bool((ids != FREE).any()):
                return _settled(call, tensors, dim - len(shape))
            elif ids is None and size != 1:
                fixed.add(dim)
    return found.fixing(fixed) if found.shown else _settled(call, tensors)


def _placed(call: Call, tensor: Tensor, rank: int) -> Grid:
    grid = call.known(tensor).grid
    assert grid is not None
    return grid.shifted(rank - tensor.dim())


def _settled(call: Call, tensors: Sequence[Tensor], dim: int | None = None) -> Grid | None:
    for tensor in tensors:
        call.settle(tensor, None if dim is None else dim + tensor.dim())
    return None


def _alike(call: Call, first: Grid, second: Grid) -> bool:
    """Whether one grid may be taken for the other; their labels are tied, index by index."""
    if first is second:
        return True
    fits = first.whole.shape == second.whole.shape and all(
        b is None or a == b for a, b in zip(first.dims, second.dims, strict=True)
    )
    if fits and not np.array_equal(first.whole, second.whole):
        fits = all(
            second.dims[axis] is None or np.array_equal(first.picks[axis], second.picks[axis])
            for axis in first.shown
        )
        if fits:
            call.labels.merge(first.whole.reshape(-1), second.whole.reshape(-1), SPLIT)
    return fits


def joined(grids: Sequence[Grid | None], dim: int) -> Grid | None:
    """Parts of one grid behind one another along a dimension; None: they are no such parts."""
    first = grids[0]
    if first is None or len(grids) == 1:
        return first
    axis = first.axis(dim)
    parts: list[Ids] = []
    for grid in grids:
        if grid is None or not np.array_equal(grid.whole, first.whole) or grid.dims != first.dims:
            return None
        others = [a for a in range(len(grid.dims)) if a != axis and grid.dims[a] is not None]
        if not all(np.array_equal(grid.picks[a], first.picks[a]) for a in others):
            return None
        parts += [] if axis is None else [grid.picks[axis]]
    picks = [*first.picks]
    if axis is not None:
        picks[axis] = np.concatenate(parts)
    fixed = frozenset().union(*(grid.fixed for grid in grids if grid is not None))
    return Grid(first.whole, first.dims, tuple(picks), fixed)


def _line(grid: Ids, axis: int) -> Ids:
    """The entries along an axis from the first corner."""
    return np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)[:, 0]


def _spread(axes: frozenset[int], at: int, count: int) -> set[int]:
    """Numbers of axes after one of them became several."""
    found = set()
    for axis in axes:
        found |= set(range(at, at + count)) if axis == at else {axis + (count - 1) * (axis > at)}
    return found
