"""Schedules: which share is kept from which time on."""

import pytest

from lightning_prune import Constant, Geometric, OneShot, Polynomial, Steps


def test_one_event():
    assert OneShot(3, keep=0.2).targets() == {3: 0.2}


def test_events_one_by_one_are_put_in_order():
    assert list(Steps({8: 0.1, 2: 0.5}).targets().items()) == [(2, 0.5), (8, 0.1)]


def test_geometric_events_leave_the_same_share_of_what_was_left():
    targets = Geometric(first=10, every=5, events=3, keep=0.125).targets()
    assert targets == pytest.approx({10: 0.5, 15: 0.25, 20: 0.125})
    assert targets[20] == 0.125  # not 0.12500000000000003


def test_constant_events_keep_the_same():
    assert Constant(first=2, every=3, events=3, keep=0.4).targets() == {2: 0.4, 5: 0.4, 8: 0.4}


def test_progress_is_the_share_of_events_that_lie_before():
    schedule = Constant(first=2, every=3, events=4, keep=0.4)
    assert [schedule.progress(time) for time in (0, 2, 3, 5, 8, 11)] == [
        0,
        0,
        0.25,
        0.25,
        0.5,
        0.75,
    ]


def test_polynomial_events_lie_on_the_cube_and_end_at_last():
    targets = Polynomial(first=0, last=10, every=4, keep=0.2).targets()
    assert targets == pytest.approx({4: 0.2 + 0.8 * 0.6**3, 8: 0.2 + 0.8 * 0.2**3, 10: 0.2})
    assert targets[10] == 0.2


def test_polynomial_of_power_one_is_a_line():
    targets = Polynomial(first=2, last=6, every=1, keep=0.2, power=1).targets()
    assert targets == pytest.approx({3: 0.8, 4: 0.6, 5: 0.4, 6: 0.2})


@pytest.mark.parametrize(
    "schedule",
    [
        Geometric(first=3, every=2, events=7, keep=0.03),
        Polynomial(first=1, last=17, every=3, keep=0.03),
    ],
    ids=repr,
)
def test_shares_fall_strictly_and_end_at_keep(schedule):
    keeps = list(schedule.targets().values())
    assert all(after < before for before, after in zip([1.0, *keeps], keeps, strict=False))
    assert keeps[-1] == 0.03


def test_a_schedule_is_a_function_of_time():
    schedule = Steps({2: 0.5, 8: 0.1})
    assert [schedule(time) for time in (0, 2, 3, 8)] == [None, 0.5, None, 0.1]


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (-1, 1, None),
        (-1, 2, (2, 0.5)),
        (2, 2, None),  # never twice
        (2, 7, None),
        (2, 9, (8, 0.1)),  # late, after a resume
        (-1, 9, (8, 0.1)),  # the later of two
        (-1, 0, None),
    ],
)
def test_an_event_is_due_once_between_the_last_one_and_now(last, now, due):
    assert Steps({2: 0.5, 8: 0.1}).due(last, now) == due


def test_a_thousand_events_are_worked_out_once():
    """Every batch asks what is due."""

    class Counted(Constant):
        asked = 0

        def targets(self):
            Counted.asked += 1
            return super().targets()

    schedule = Counted(first=100, every=100, events=1000, keep=0.5, unit="step")
    Counted.asked = 0
    due = [schedule.due(step - 1, step) for step in range(100_200)]
    assert Counted.asked == 1
    times = [found[0] for found in due if found]
    assert times == list(range(100, 100_001, 100))


def test_an_event_at_time_zero_is_due_at_once():
    assert OneShot(0, keep=0.3).due(-1, 0) == (0, 0.3)


@pytest.mark.parametrize("keep", [0, -0.1, 1.5, True, "half", None, float("nan")])
def test_a_share_out_of_range_is_refused_in_both_readings(keep):
    with pytest.raises(ValueError, match=r"in \(0, 1\].*keeps 10 %.*sparsity 0.9"):
        OneShot(3, keep=keep)


@pytest.mark.parametrize("keep", [1, 1.0, 0.5, 1e-6])
def test_a_share_in_range_is_taken(keep):
    assert OneShot(3, keep=keep).targets() == {3: float(keep)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneShot(-1, 0.5), "epoch is a whole number from 0 on, not -1"),
        (lambda: OneShot(1.5, 0.5), "epoch is a whole number from 0 on, not 1.5"),
        (lambda: OneShot(1, 0.5, unit="batch"), "'epoch' or 'step', not 'batch'"),
        (lambda: Steps({}), "at least one event"),
        (lambda: Steps({1: 0.5, 3: 0}), r"in \(0, 1\]"),
        (lambda: Geometric(1, 0, 3, 0.5), "every is a whole number from 1 on"),
        (lambda: Geometric(1, 2, 0, 0.5), "events is a whole number from 1 on"),
        (lambda: Constant(1, 2, 0, 0.5), "events is a whole number from 1 on"),
        (lambda: Constant(1, 0, 3, 0.5), "every is a whole number from 1 on"),
        (lambda: Constant(-1, 2, 3, 0.5), "first is a whole number from 0 on"),
        (lambda: Polynomial(5, 5, 1, 0.5), "last=5, which is not after first=5"),
        (lambda: Polynomial(0, 5, 1, 0.5, power=0), "power of Polynomial is positive"),
    ],
)
def test_what_makes_no_schedule_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_whole_numbers_may_be_written_as_floats():
    assert OneShot(3.0, 0.5).targets() == {3: 0.5}


def test_times_given_as_strings_are_refused_with_a_sentence():
    """As in yaml files whose keys were quoted."""
    with pytest.raises(ValueError, match="whole number"):
        Steps({"3": 0.5})
