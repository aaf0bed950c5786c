"""The clock: seconds of calls that take turns, with rounds long enough to be told apart."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

ROUND = 1e-3  # seconds that a round takes at least, so that the clock is fine enough

Side = Callable[[], object]


def by_turns(
    sides: Sequence[Side], rounds: int, device: torch.device, warm_up: int = 1
) -> list[list[float]]:
    """Seconds of one call of each side, round by round.

    The sides take turns in changing order, so that whatever else the machine does meets all of
    them alike. A round of a short side is several calls.

    Arguments:
        sides: What is timed.
        rounds: That count.
        device: That has to be waited for.
        warm_up: Calls of each side before.
    """
    for _ in range(warm_up):
        for side in sides:
            side()
    calls = [max(1, math.ceil(ROUND / seconds(side, 1, device))) for side in sides]
    taken: list[list[float]] = [[] for _ in sides]
    order, own = list(range(len(sides))), random.Random(0)
    for _ in range(rounds):
        # in a fixed order a scheduler's beat would meet the same side every time
        own.shuffle(order)
        for place in order:
            taken[place].append(seconds(sides[place], calls[place], device))
    return taken


def fastest(sides: Sequence[Side], rounds: int, device: torch.device) -> list[float]:
    """Seconds of one call of each side: the fastest of its rounds.

    What else the machine does only adds to a round, and may meet one side in all of them.
    """
    return [min(turns) for turns in by_turns(sides, rounds, device)]


def seconds(side: Side, calls: int, device: torch.device) -> float:
    """Of one call, the mean of several; never 0."""
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        side()
    wait(device)
    return max(time.perf_counter() - start, 1e-9) / calls


def wait(device: torch.device) -> None:
    """Until an accelerator has done what it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch inside, as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
