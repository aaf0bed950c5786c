"""The clock: turns, rounds and threads; no duration is judged."""

import pytest
import torch

from lightning_prune import clock

CPU = torch.device("cpu")


def test_sides_take_turns_in_changing_order(monkeypatch):
    seen = []
    sides = [lambda: None, lambda: None]

    def seconds(side, calls, device):
        seen.append(sides.index(side))
        return len(seen) + 10.0 * sides.index(side)  # when it ran, and which it was

    monkeypatch.setattr(clock, "seconds", seconds)
    taken = clock.by_turns(sides, 20, CPU)
    looks, rounds = seen[:2], [seen[at : at + 2] for at in range(2, len(seen), 2)]
    assert looks == [0, 1]
    assert all(sorted(order) == [0, 1] for order in rounds)
    assert {tuple(order) for order in rounds} == {(0, 1), (1, 0)}
    for place, times in enumerate(taken):
        assert len(times) == 20
        assert [seen[int(t - 10 * place) - 1] for t in times] == [place] * 20


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
