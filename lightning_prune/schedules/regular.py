"""Schedules of events at equal distances, by a ratio or with one share."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_prune.schedules.base import Schedule, Unit, check_keep, whole


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
        first, every = whole("first", self.first), whole("every", self.every, 1)
        events, keep = whole("events", self.events, 1), check_keep(self.keep)
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
        first, every = whole("first", self.first), whole("every", self.every, 1)
        events, keep = whole("events", self.events, 1), check_keep(self.keep)
        return {first + i * every: keep for i in range(events)}
