"""Schedules: what is to be kept at which time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
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


def _whole(name: str, value: float, least: int = 0) -> int:
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(f"{name} is a whole number from {least} on, not {value!r}.")
    return int(value)


@dataclass(frozen=True)
class OneShot(Schedule):
    """One event.

    Arguments:
        epoch: Its time in units, from 0.
        keep: Share of the dense network that stays, in (0, 1].
        unit: `epoch` or `step`.

    Raises:
        ValueError: A time or a share is out of range.
    """

    epoch: int
    keep: float
    unit: Unit = "epoch"

    def targets(self) -> dict[int, float]:
        """The one event."""
        return {_whole("epoch", self.epoch): check_keep(self.keep)}


@dataclass(frozen=True)
class Steps(Schedule):
    """Events one by one.

    Arguments:
        keeps: Time to keep; each a share of the dense network, not of what was left.
        unit: `epoch` or `step`.

    Raises:
        ValueError: A time or a share is out of range, or there is none.
    """

    keeps: Mapping[int, float]
    unit: Unit = "epoch"

    def __post_init__(self) -> None:
        if not self.keeps:
            raise ValueError("Steps needs at least one event, such as {10: 0.5, 20: 0.2}.")
        super().__post_init__()

    def targets(self) -> dict[int, float]:
        """The events as given, in the order of time."""
        given = {_whole("a time", time): check_keep(keep) for time, keep in self.keeps.items()}
        return dict(sorted(given.items()))


@dataclass(frozen=True)
class Grid(Schedule):
    """Events at equal distances, with a share for each: cascades over a published grid.

    Arguments:
        first: Time of the first event.
        every: Time between two events.
        keeps: Share of the dense network that stays after each event, none above the one before.
        unit: `epoch` or `step`.

    Raises:
        ValueError: A time or a share is out of range, there is no share, or shares rise.
    """

    first: int
    every: int
    keeps: Sequence[float]
    unit: Unit = "epoch"

    def targets(self) -> dict[int, float]:
        """The shares in their order."""
        first, every = _whole("first", self.first), _whole("every", self.every, 1)
        keeps = [check_keep(keep) for keep in self.keeps]
        if not keeps or any(after > before for before, after in pairwise(keeps)):
            raise ValueError(
                f"Grid needs shares, none above the one before, such as [0.5, 0.2]; not {keeps}."
            )
        return {first + i * every: keep for i, keep in enumerate(keeps)}


@dataclass(frozen=True)
class Geometric(Schedule):
    r"""Every event keeps the same share of what the one before left.

    Event i of n, counted from 1, keeps :math:`\text{keep}^{i/n}` of the dense network.

    Arguments:
        first: Time of the first event.
        every: Time between two events.
        events: Number of events.
        keep: Share of the dense network after the last one, in (0, 1].
        unit: `epoch` or `step`.

    Raises:
        ValueError: A time, a number or a share is out of range.
    """

    first: int
    every: int
    events: int
    keep: float
    unit: Unit = "epoch"

    def targets(self) -> dict[int, float]:
        """The events; the last one keeps exactly `keep`."""
        first, every = _whole("first", self.first), _whole("every", self.every, 1)
        events, keep = _whole("events", self.events, 1), check_keep(self.keep)
        return {first + i * every: keep ** ((i + 1) / events) for i in range(events)}


@dataclass(frozen=True)
class Constant(Schedule):
    """The same share at every event, for what comes back in between.

    That is so for criteria that regrow, and for soft pruning (`Pruning(..., hold=False)`), in
    which every event chooses anew; see `docs/methods.md`.

    Arguments:
        first: Time of the first event.
        every: Time between two events.
        events: Number of events.
        keep: Share of the dense network after each of them, in (0, 1].
        unit: `epoch` or `step`.

    Raises:
        ValueError: A time, a number or a share is out of range.
    """

    first: int
    every: int
    events: int
    keep: float
    unit: Unit = "epoch"

    def targets(self) -> dict[int, float]:
        """The events, all of which keep `keep`."""
        first, every = _whole("first", self.first), _whole("every", self.every, 1)
        events, keep = _whole("events", self.events, 1), check_keep(self.keep)
        return {first + i * every: keep for i in range(events)}


@dataclass(frozen=True)
class Polynomial(Schedule):
    r"""Gradual pruning: fast at first, slower towards the end.

    At time t the network keeps
    :math:`k + (1 - k) (1 - (t - \text{first}) / (\text{last} - \text{first}))^{\text{power}}`;
    at `first` that is everything, so the first event that prunes comes `every` later.

    References:
        | To prune, or not to prune: exploring the efficacy of pruning for model compression
          (Zhu & Gupta, 2017)
        | https://arxiv.org/abs/1710.01878

    Arguments:
        first: Time at which pruning begins.
        last: Time of the last event.
        every: Time between two events; the last interval may be shorter.
        keep: Share k of the dense network after the last event, in (0, 1].
        power: Exponent, positive; 3 is the paper's.
        unit: `epoch` or `step`.

    Raises:
        ValueError: A time, a share or the power is out of range.
    """

    first: int
    last: int
    every: int
    keep: float
    power: float = 3.0
    unit: Unit = "epoch"

    def targets(self) -> dict[int, float]:
        """The events after `first`; the last one keeps exactly `keep`."""
        first, every = _whole("first", self.first), _whole("every", self.every, 1)
        last, keep = _whole("last", self.last), check_keep(self.keep)
        if last <= first:
            raise ValueError(f"Polynomial ends at last={last}, which is not after first={first}.")
        if not self.power > 0:
            raise ValueError(f"The power of Polynomial is positive, not {self.power!r}.")
        times = [*range(first + every, last, every), last]
        left = [1 - (time - first) / (last - first) for time in times]
        shares = [keep + (1 - keep) * rest**self.power for rest in left]
        return dict(zip(times, shares, strict=True))
