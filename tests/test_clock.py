"""The clock: turns, rounds and threads; no duration is judged."""

import pytest
import torch

from lightning_prune import clock

CPU = torch.device("cpu")


def test_sides_take_turns(monkeypatch):
    # a look at either side, then three rounds
    times = iter([1.0, 1.0, 2.0, 5.0, 9.0, 4.0, 3.0, 6.0])
    monkeypatch.setattr(clock, "seconds", lambda side, calls, device: next(times))
    sides = [lambda: None, lambda: None]
    assert clock.by_turns(sides, 3, CPU) == [[2.0, 9.0, 3.0], [5.0, 4.0, 6.0]]


def test_the_fastest_of_rounds_counts(monkeypatch):
    monkeypatch.setattr(clock, "by_turns", lambda sides, rounds, device: [[2.0, 1.0], [5.0, 9.0]])
    assert clock.fastest([lambda: None] * 2, 2, CPU) == [1.0, 5.0]


def test_a_round_of_a_short_side_is_several_calls(monkeypatch):
    told = []

    def seconds(side, calls, device):
        told.append(calls)
        return 3e-4 if side is short else 2.0

    def short():
        return None

    monkeypatch.setattr(clock, "seconds", seconds)
    clock.by_turns([short, lambda: None], 2, CPU, warm_up=0)
    assert told == [1, 1, 4, 1, 4, 1]


def test_warm_up_and_rounds_call_the_side():
    calls = []
    clock.by_turns([lambda: calls.append(1)], 0, CPU, warm_up=3)
    assert len(calls) == 4  # and the look that says how many calls a round has


@pytest.mark.parametrize("count", [1, 2])
def test_threads_are_set_back(count: int):
    before = torch.get_num_threads()
    with clock.threads(count):
        assert torch.get_num_threads() == count
    assert torch.get_num_threads() == before
