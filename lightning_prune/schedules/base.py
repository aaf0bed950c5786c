"""Schedules: what is to be kept at which time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import Literal

Unit = Literal["epoch", "step"]


def check_keep(keep: float) -> float:
    """`keep`, if it is a share of the dense network.

    Raises:
        ValueError: It is not in (0, 1]; both readings are named.
    """
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise ValueError(
            f"keep is the share of the dense network that stays, in (0, 1], not {keep!r}: "
            "keep=0.1 keeps 10 % and removes 90 % (sparsity 0.9)."
        )
    return float(keep)


class Schedule(ABC):
    """Time to the share of the dense network that is kept from then on.

    Times are whole epochs, or optimizer steps, counted from 0; an event happens before the first
    batch of its epoch, or before its step. Targets are absolute: they never compound.

    Attributes:
        unit: What times count, `epoch` or `step`.
    """

    unit: Unit

    @abstractmethod
    def targets(self) -> dict[int, float]:
        """Every event, in the order of time: time to keep."""

    def __post_init__(self) -> None:
        if self.unit not in ("epoch", "step"):
            raise ValueError(f"The unit of a schedule is 'epoch' or 'step', not {self.unit!r}.")
        for time, keep in self.targets().items():
            if time < 0:
                raise ValueError(f"An event's time counts {self.unit}s from 0, not {time}.")
            check_keep(keep)

    def __call__(self, time: int) -> float | None:
        """The share kept from `time` on, or None where no event is."""
        return self._targets.get(time)

    def due(self, last: int, now: int) -> tuple[int, float] | None:
        """The latest event with last < time <= now, or None; it supersedes earlier ones."""
        place = bisect_right(self._times, now) - 1
        time = self._times[place] if place >= 0 else last
        return (time, self._targets[time]) if time > last else None

    def progress(self, time: int) -> float:
        """Share of the events that lie before `time`: 0 at the first, below 1 at the last."""
        return bisect_left(self._times, time) / len(self._times)

    # every batch asks what is due, so a thousand events are worked out once

    @cached_property
    def _targets(self) -> dict[int, float]:
        return self.targets()

    @cached_property
    def _times(self) -> list[int]:
        return sorted(self._targets)


def whole(name: str, value: float, least: int = 0) -> int:
    """A time or a number, from the least on; anything else raises a ValueError."""
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(f"{name} is a whole number from {least} on, not {value!r}.")
    return int(value)
