"""Schedules whose shares are listed one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lightning_prune.schedules.base import Schedule, Unit, check_keep, whole


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
        return {whole("epoch", self.epoch): check_keep(self.keep)}


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
        given = {whole("a time", time): check_keep(keep) for time, keep in self.keeps.items()}
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
        first, every = whole("first", self.first), whole("every", self.every, 1)
        keeps = [check_keep(keep) for keep in self.keeps]
        if not keeps or any(after > before for before, after in pairwise(keeps)):
            raise ValueError(
                f"Grid needs shares, none above the one before, such as [0.5, 0.2]; not {keeps}."
            )
        return {first + i * every: keep for i, keep in enumerate(keeps)}
