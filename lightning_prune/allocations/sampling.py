"""Sampling: which units of a row stay is drawn, and their gains make the sum right on average."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lightning_prune.allocations.base import Allocation, Candidate
from lightning_prune.allocations.bernstein import Bernstein
from lightning_prune.allocations.distinct import adaptive_draws
from lightning_prune.allocations.rows import Rows

MOST = 1 << 62  # draws that a 64-bit integer counts


@dataclass(frozen=True)
class Sampled(Allocation):
    r"""How many units every row keeps is decided by keys; which ones, by their scores or by lot.

    Units are drawn in proportion to their scores p, without replacement and with an exact count:
    every unit arrives at the time :math:`E / p`, E exponential, and the first k stay (bottom-k
    sampling). With :math:`\tau` the first arrival left out, a unit that stays has the gain
    :math:`1 / (1 - e^{-\tau p})`, one over the probability that it arrives before. Then every sum
    over a row is right on average. Units that score nothing are drawn when no other is left.

    The draws are a pure function of the seed, the group's name and how many of its units are
    left: the same on every process and after a resume, and fresh at an event at which something
    was gone. The random state of the run is neither read nor changed.

    `replace` is the published estimator: as many draws with replacement as are expected to meet k
    different units, and gains n / (N p) for a unit drawn n of N times. It keeps k units in
    expectation only. A row is left as it is where the draws meet all of it.

    References:
        | Summarizing Data using Bottom-k Sketches (Cohen and Kaplan, 2007)
        | Bottom-k Sketches: Better and More Efficient Estimation of Aggregates (Cohen and Kaplan,
          2007), for the probability given the first left out

    Arguments:
        floor: See `Allocation`.
        select: Which units of a row stay; `top`, and what the allocation adds.
        seed: Another one, another selection.
        replace: Draw with replacement.
        bound: Of the error of a row.

    Raises:
        ValueError: There is no such selection.

    Attributes:
        selects: The selections there are.
        by_sign: Rows are divided by filter and sign.
    """

    select: str = "top"
    seed: int = 0
    replace: bool = False
    bound: Bernstein = field(default_factory=Bernstein)
    selects: ClassVar[tuple[str, ...]] = ("top",)
    by_sign: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select not in self.selects:
            raise ValueError(
                f"{type(self).__name__} selects by {', '.join(map(repr, self.selects))}, not by "
                f"{self.select!r}."
            )

    @property
    def expected(self) -> bool:
        """With replacement."""
        return self.replace and self.select != "top"

    @abstractmethod
    def certain(self, candidate: Candidate, rows: Rows, counts: Tensor) -> Tensor:
        """(n_units,) bool: what stays without a draw, at most `counts` (rows,) of a row."""

    def gains(self, candidate: Candidate, kept: Tensor) -> Tensor:
        """(n_units,): as many units of every row as the keys kept, drawn and rescaled."""
        if self.select == "top" or bool(kept.all()):
            return kept
        rows = Rows.of(candidate, self.by_sign)
        counts = rows.sums(kept)
        certain = self.certain(candidate, rows, counts)
        seed = self._seed(candidate)
        draw = with_replacement if self.replace else bottom_k
        return draw(rows, counts, certain, seed).to(kept)

    def drawn_bound(self, candidate: Candidate, kept: Tensor) -> Tensor:
        """(rows,): the bound on the errors of rows of which some units were drawn, else NaN.

        Arguments:
            candidate: Whose units stayed.
            kept: (n_units,) 1 where one did.
        """
        rows = Rows.of(candidate, self.by_sign)
        counts = rows.sums(kept)
        drawn = counts > rows.sums(self.certain(candidate, rows, counts))
        drawn &= counts < rows.sums(rows.share > 0)  # else all that score stayed
        if not bool(drawn.any()):
            return torch.full_like(rows.total, torch.nan)
        return self.error(candidate, rows, counts).masked_fill(~drawn, torch.nan)

    def error(self, candidate: Candidate, rows: Rows, counts: Tensor) -> Tensor:
        """(rows,): the bound on the error of rows of which so many different units were drawn."""
        return self.bound.error(self.bound.alpha(rows.total, candidate.group), counts)

    def _seed(self, candidate: Candidate) -> int:
        gone = candidate.gone
        left = candidate.group.size if gone is None else int(gone.count_nonzero())
        # torch's generator on the CPU reads the lower 32 bits only
        return zlib.crc32(f"{self.seed} {candidate.group.name} {left}".encode())


def bottom_k(rows: Rows, counts: Tensor, certain: Tensor, seed: int) -> Tensor:
    """(n_units,) float64 gains of exactly `counts` units of every row.

    Arguments:
        rows: Their shares are what is drawn in proportion to.
        counts: (rows,) units that stay.
        certain: (n_units,) bool, what stays with gain 1; at most the counts.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(rows.owner), dtype=torch.float64, generator=generator)
    arrival = -torch.log1p(-uniform) / rows.share  # infinite, or not a number, without a share
    arrival = arrival.masked_fill(rows.share == 0, torch.inf).masked_fill(certain, -torch.inf)
    ranks = rows.ranks(rows.reordered(arrival))
    limit = counts[rows.owner]
    first_out = ranks == limit + 1
    tau = torch.full_like(rows.total, torch.inf)
    tau[rows.owner[first_out]] = arrival[first_out]
    tau = tau[rows.owner]
    rescaled = -1.0 / torch.expm1(-tau * rows.share)
    gain = torch.where(certain | tau.isinf(), 1.0, rescaled)
    return torch.where(ranks <= limit, gain, 0.0)


def with_replacement(rows: Rows, counts: Tensor, certain: Tensor, seed: int) -> Tensor:
    """(n_units,) float64 gains n / (N p), of about `counts` different units of every row.

    Arguments:
        rows: Their shares are what is drawn in proportion to.
        counts: (rows,) different units that are expected to stay.
        certain: (n_units,) bool, what stays with gain 1; at most the counts.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    ranks = rows.ranks()
    gains = certain.double()
    open_counts = counts - rows.sums(certain)
    sizes = torch.bincount(rows.owner, minlength=len(rows.total)).tolist()
    for row, units in enumerate(rows.order.split(sizes)):
        wanted = int(open_counts[row])
        drawn = units[(rows.share[units] > 0) & ~certain[units]]
        if wanted == 0:
            continue
        if wanted >= len(drawn):  # nothing to draw: all of them, and the first of the scoreless
            gains[units[ranks[units] <= counts[row]]] = 1.0
            continue
        p = rows.share[drawn] / rows.share[drawn].sum()
        total = min(int(adaptive_draws(p, torch.tensor([wanted]))[0]), MOST)
        # binomial by binomial: the draws themselves are never made
        times = torch.from_numpy(rng.multinomial(total, p.numpy())).double()
        gains[drawn] = times / (total * p) if bool((times == 0).any()) else torch.ones_like(p)
    return gains
