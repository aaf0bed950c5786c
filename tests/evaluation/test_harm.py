"""Harm by class: recalls by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_prune.evaluation import class_harm


def test_the_class_that_loses_most():
    found = class_harm([0.9, 0.8, 1.0], [0.85, 0.5, 1.0])
    assert found.worst_class == 1
    assert found.worst_drop == pytest.approx(0.3)
    assert found.drops == pytest.approx([0.05, 0.3, 0.0])
    assert found.spread == pytest.approx(0.3)


def test_where_all_gain_the_worst_gains_least():
    found = class_harm(torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.6]))
    assert (found.worst_class, found.worst_drop) == (1, pytest.approx(-0.1))
    assert found.spread == pytest.approx(0.3)


def test_of_equal_classes_the_first_is_named():
    found = class_harm([1.0, 1.0], [0.5, 0.5])
    assert (found.worst_class, found.spread) == (0, 0)


def test_classes_without_samples_are_never_worst():
    found = class_harm([math.nan, 0.5, 0.6], [math.nan, 0.7, 0.7])
    assert found.worst_class == 2
    assert math.isnan(found.drops[0])
    assert found.spread == pytest.approx(0.1)


def test_classes_by_another_name_are_the_same_classes():
    dense, pruned = torch.rand(2, 10)
    order = torch.randperm(10)
    plain, moved = class_harm(dense, pruned), class_harm(dense[order], pruned[order])
    assert int(order[moved.worst_class]) == plain.worst_class
    assert (moved.worst_drop, moved.spread) == (plain.worst_drop, plain.spread)


@pytest.mark.parametrize(
    ("dense", "pruned", "message"),
    [
        ([0.5], [0.5, 0.5], r"not \(1,\) and \(2,\)"),
        ([], [], "No class has samples"),
        ([math.nan], [math.nan], "No class has samples"),
    ],
)
def test_bad_recalls_are_refused(dense, pruned, message):
    with pytest.raises(ValueError, match=message):
        class_harm(dense, pruned)
