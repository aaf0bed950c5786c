"""A clock that counts products in place of seconds, so that what a side takes is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch.utils.flop_counter import FlopCounterMode


def fastest(
    sides: Sequence[Callable[[], object]], rounds: int = 1, device: object = None
) -> list[float]:
    """A microsecond a multiply-add, and one for every call."""
    told = []
    for side in sides:
        with FlopCounterMode(display=False) as counter:
            side()
        told.append(1e-6 * (1 + counter.get_total_flops() / 2))
    return told
