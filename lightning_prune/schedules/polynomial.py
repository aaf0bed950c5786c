"""Gradual pruning along a polynomial."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_prune.schedules.base import Schedule, Unit, check_keep, whole


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
        first, every = whole("first", self.first), whole("every", self.every, 1)
        last, keep = whole("last", self.last), check_keep(self.keep)
        if last <= first:
            raise ValueError(f"Polynomial ends at last={last}, which is not after first={first}.")
        if not self.power > 0:
            raise ValueError(f"The power of Polynomial is positive, not {self.power!r}.")
        times = [*range(first + every, last, every), last]
        left = [1 - (time - first) / (last - first) for time in times]
        shares = [keep + (1 - keep) * rest**self.power for rest in left]
        return dict(zip(times, shares, strict=True))
