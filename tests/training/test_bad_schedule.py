"""Shares and times that cannot be are refused in one sentence, before training."""

import math
import re

import pytest
from classifiers import SIZE, Classifier, fit, perceptron
from refusals import pruning, refused, said

from lightning_prune import Geometric, OneShot, Polynomial, Pruning, Rewind, Steps, prune


@pytest.mark.parametrize("keep", [0, 0.0, -0.1, 1.5, 50, math.nan, math.inf, True, "0.5", None])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda keep: OneShot(1, keep),
        lambda keep: Steps({1: 0.5, 2: keep}),
        lambda keep: Geometric(1, 1, 2, keep),
        lambda keep: Polynomial(1, 3, 1, keep),
    ],
)
def test_a_keep_outside_names_both_readings(keep, schedule):
    with pytest.raises(ValueError, match=re.escape(repr(keep))) as caught:
        schedule(keep)
    message = said(caught)
    assert "(0, 1]" in message
    assert "keep=0.1 keeps 10 % and removes 90 % (sparsity 0.9)" in message


def test_a_keep_outside_in_one_call():
    with pytest.raises(ValueError, match="sparsity"):
        prune(perceptron(), "magnitude", 90)


TOO_LATE = {
    "an epoch": (OneShot(3, keep=0.5), {"max_epochs": 3}, "epoch 3.*max_epochs=3"),
    "the last of some": (Steps({1: 0.9, 5: 0.5}), {"max_epochs": 3}, "epoch 5.*max_epochs=3"),
    "a step": (OneShot(6, keep=0.5, unit="step"), {"max_steps": 6}, "step 6.*max_steps=6"),
    "a step of epochs": (OneShot(12, keep=0.5, unit="step"), {"max_epochs": 3}, "step 12.*12"),
    "a step of sums": (
        OneShot(6, keep=0.5, unit="step"), {"accumulate_grad_batches": 2}, "step 6.*2 steps.*6"
    ),
    "an epoch of steps": (OneShot(2, keep=0.5), {"max_steps": 8}, "epoch 2.*max_steps=8"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOO_LATE)
def test_an_event_that_would_never_happen(case):
    schedule, options, expected = TOO_LATE[case]
    message = refused(pruning(schedule), **options)
    assert re.search(f"{expected}.*prune earlier or train longer", message)


def test_the_last_moment_is_not_too_late():
    for schedule, options in (
        (OneShot(2, keep=0.5), {"max_epochs": 3}),
        (OneShot(11, keep=0.5, unit="step"), {"max_epochs": 3}),
        (OneShot(1, keep=0.5), {"max_steps": 5}),
        (OneShot(5, keep=0.5, unit="step"), {"max_steps": 6}),
    ):
        callback = pruning(schedule)
        fit(Classifier(), callback, **options)
        assert callback.keep == int(0.5 * SIZE) / SIZE


def test_a_schedule_that_rises():
    with pytest.raises(ValueError, match=r"may not rise.*0\.3, 0\.6") as caught:
        pruning(Steps({1: 0.3, 2: 0.6}))
    said(caught)


def test_a_rewind_to_what_comes_after_the_first_event():
    with pytest.raises(ValueError, match=r"to=3\) lies after the first event at 2") as caught:
        pruning(Steps({2: 0.5, 4: 0.3}), rewind=Rewind(to=3))
    said(caught)


@pytest.mark.parametrize("schedule", [None, 0.5, {1: 0.5}])
def test_no_schedule(schedule):
    with pytest.raises(ValueError, match="takes a schedule such as OneShot") as caught:
        Pruning("magnitude", schedule)
    said(caught)
    with pytest.raises(TypeError, match="schedule"):
        Pruning("magnitude")
