"""Timing by turns: every side runs once a round, and medians of processor time are compared."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def medians(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    before: Callable[[str], object] = lambda side: None,
) -> dict[str, float]:
    """Seconds of processor time of one call of each side, on one thread.

    Arguments:
        sides: Name to what is timed.
        rounds: Calls of each side that count, after one that does not.
        before: Called with the name of the side before each of its calls, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for turn in range(rounds + 1):
            for name, run in sides.items():
                before(name)
                start = time.process_time()
                run()
                if turn:
                    seconds[name].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def table(title: str, rows: list[tuple[str, str]]) -> None:
    """Print two columns under a title."""
    width = max(len(name) for name, _ in rows)
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<{width}}  {value}", flush=True)
