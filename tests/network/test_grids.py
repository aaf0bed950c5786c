"""Split dimensions by hand: which index an axis shows, and which labels become one."""

import numpy as np
import pytest
from torch import nn

from lightning_prune.network.grids import Grid, joined, line_grid
from lightning_prune.network.labels import FOREIGN, FREE, Labels


def split(grid, before, after, dim=0):
    """The axes of one dimension among others that are merged with it and split again."""
    line = np.arange(before[dim]).reshape([-1 if d == dim else 1 for d in range(len(before))])
    seen = np.broadcast_to(line, before).reshape(after)
    return grid.split(dim, seen, range(len(after)))


def test_a_dimension_becomes_axes_that_show_all_indices():
    grid = split(line_grid(np.arange(24), 0), [24], [2, 3, 4])
    assert grid.whole.tolist() == np.arange(24).reshape(2, 3, 4).tolist()
    assert grid.dims == (0, 1, 2)
    assert [picks.tolist() for picks in grid.picks] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_what_it_is_merged_with_repeats_the_indices_of_an_axis():
    grid = split(line_grid(np.arange(6), 1), [2, 6], [4, 3], dim=1)
    assert grid.whole.shape == (2, 3)
    assert [picks.tolist() for picks in grid.picks] == [[0, 1, 0, 1], [0, 1, 2]]
    # and apart again: the first of the new dimensions shows nothing
    apart = split(grid, [4], [2, 2])
    assert apart.dims == (1, 1)  # the caller says where the other axis is
    assert [picks.tolist() for picks in apart.picks] == [[0, 1], [0, 1, 2]]


@pytest.mark.parametrize(("before", "after", "dim"), [([6, 2], [4, 3], 0), ([6, 4], [4, 6], 0)])
def test_axes_that_do_not_divide_are_not_followed(before, after, dim):
    assert split(line_grid(np.arange(6), dim), before, after, dim) is None


def test_a_part_of_a_dimension_is_not_split():
    assert split(line_grid(np.arange(6), 0).taken(0, slice(0, 4)), [4], [2, 2]) is None


def test_indices_of_the_chosen_axis_are_the_units():
    labels = Labels(nn.Linear(12, 1, bias=False))
    ids = labels.held[0].dims[1]
    grid = split(line_grid(ids, 0), [12], [2, 3, 2]).moved({1: 0, 2: 1})  # the first is selected
    assert grid.shown == [1, 2]
    taken = grid.taken(0, np.array([2, 0]))
    line = taken.collapsed(1, labels)
    roots = labels.roots()[ids].reshape(2, 3, 2)
    assert len(np.unique(roots)) == 3
    assert all(len(np.unique(roots[:, head])) == 1 for head in range(3))
    assert [labels.root(label) for label in line.tolist()] == [roots[0, 2, 0], roots[0, 0, 0]]
    assert labels.pins == {}


def test_a_fixed_axis_keeps_its_units():
    labels = Labels(nn.Linear(6, 1, bias=False))
    ids = labels.held[0].dims[1]
    grid = split(line_grid(ids, 0), [6], [3, 2]).fixing([1])
    grid.collapsed(0, labels)
    assert labels.pins == {}
    grid.collapsed(1, labels)
    assert set(labels.pins) == set(ids.tolist())


def test_constants_join_no_unit_and_foreign_channels_keep_theirs():
    labels = Labels(nn.Linear(4, 1, bias=False))
    ids = labels.held[0].dims[1]
    grid = Grid(np.array([[ids[0], FREE], [ids[1], FOREIGN], [FREE, FREE]]), (0, 1),
                (np.arange(3), np.arange(2)))  # fmt: skip
    assert grid.collapsed(0, labels).tolist() == [ids[0], ids[1], FREE]
    assert set(labels.pins) == {ids[1]}


def test_parts_come_together_again():
    grid = split(line_grid(np.arange(6), 0), [6], [2, 3])
    parts = [grid.taken(1, slice(1, 3)), grid.taken(1, slice(0, 1))]
    assert joined(parts, 1).picks[1].tolist() == [1, 2, 0]
    assert joined(parts, 0) is None  # they show other indices of the other axis
    assert joined([grid, None], 1) is None
    assert joined([grid, grid.moved({0: 1, 1: 0})], 1) is None
    assert joined([grid], 1) is grid
