"""Grid: a share for each of events at equal distances, and the grid of Sparse Flows."""

from itertools import pairwise

import pytest
from hydra.utils import instantiate

from lightning_prune import Grid
from lightning_prune.configs import compose

# removed per cycle in percent, as the spacing blocks of the paper's settings work out
PRUNED = [
    20, 25.6, 30.9, 35.7, 40.2, 44.5, 48.4, 52.0, 55.4, 58.5, 61.4, 64.1, 66.7, 69.0, 71.2, 73.2,
    75.1, 76.9, 78.5, 80, 82, 84, 86, 88, 90, 92, 94, 96, 98,
]  # fmt: skip


@pytest.fixture(scope="module")
def paper():
    """The schedule of the paper's toys."""
    return instantiate(compose("train", "schedule=sparse_flows").schedule)


def test_every_share_has_its_time():
    assert Grid(10, 5, [0.8, 0.5, 0.2]).targets() == {10: 0.8, 15: 0.5, 20: 0.2}


def test_a_grid_can_count_steps_and_keep_the_same_twice():
    grid = Grid(first=0, every=3, keeps=(0.5, 0.5), unit="step")
    assert (grid.unit, grid.targets()) == ("step", {0: 0.5, 3: 0.5})


def test_events_are_due_once_and_the_latest_supersedes_earlier_ones():
    grid = Grid(2, 3, [0.5, 0.2])
    assert [grid(time) for time in range(6)] == [None, None, 0.5, None, None, 0.2]
    assert grid.due(-1, 1) is None
    assert grid.due(-1, 2) == (2, 0.5)
    assert grid.due(2, 4) is None
    assert grid.due(-1, 9) == (5, 0.2)
    assert [grid.progress(time) for time in (0, 2, 5)] == [0, 0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 1, []), "needs shares, none above the one before"),
        ((0, 1, [0.2, 0.5]), r"none above the one before.*not \[0\.2, 0\.5\]"),
        ((0, 1, [0.5, 0.0]), r"in \(0, 1\], not 0\.0"),
        ((0, 1, [1.5]), r"in \(0, 1\], not 1\.5"),
        ((0, 1, [True]), r"in \(0, 1\], not True"),
        ((0, 0, [0.5]), "every is a whole number from 1 on, not 0"),
        ((0, 1.5, [0.5]), r"every is a whole number from 1 on, not 1\.5"),
        ((-1, 1, [0.5]), "first is a whole number from 0 on, not -1"),
        ((0, 1, [0.5], "batch"), "'epoch' or 'step', not 'batch'"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Grid(*arguments)


def test_the_papers_grid_falls_geometrically_and_then_by_equal_parts(paper):
    keeps = list(paper.targets().values())
    assert len(keeps) == 29
    assert keeps[:20] == pytest.approx([0.8 * 0.25 ** (i / 19) for i in range(20)], abs=5e-5)
    assert keeps[20:] == pytest.approx([0.18 - 0.02 * i for i in range(9)], abs=1e-12)
    assert all(after < before for before, after in pairwise([1.0, *keeps]))


def test_the_papers_ratios_are_those_of_its_table(paper):
    ratios = [100 * (1 - keep) for keep in paper.targets().values()]
    assert ratios == pytest.approx(PRUNED, abs=0.06)  # the table has one place
    assert paper.targets()[min(paper.targets())] == 0.8


def test_the_papers_events_come_after_as_many_epochs_as_training_took(paper):
    assert list(paper.targets()) == [100 * number for number in range(1, 30)]
    assert paper.unit == "epoch"


def test_the_command_line_can_set_a_grid_of_its_own():
    cfg = compose("train", "schedule=grid", "schedule.first=1", "schedule.keeps=[0.5,0.2]")
    made = instantiate(cfg.schedule)
    assert made == Grid(1, 10, [0.5, 0.2])
    assert list(made.targets()) == [1, 11]
