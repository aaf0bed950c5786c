"""Bernstein's bound: the relative error of a row of which some entries were drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_prune.network.groups import Group

Form = Literal["sipp", "pfp", "clean"]


class _Constants(NamedTuple):
    alpha: float  # what multiplies 2 C ln(8 (P + 1) K / failure) S
    error: float  # what multiplies the error


_CONSTANTS = {"sipp": _Constants(1.0, 0.5), "pfp": _Constants(9.0, 1.0)}


@dataclass(frozen=True)
class Bernstein:
    r"""How far a sum of shares may be off when only some of its terms were drawn.

    A row of total sensitivity S, of which m entries are drawn in proportion to their
    sensitivities, is off by the share

    .. math:: \epsilon(m) = h \left( b + \sqrt{b^2 + 6 b} \right), \quad b = \alpha / (3 m)

    at most, with the probability 1 - failure. The forms differ in their constants only:

    - `clean`: :math:`\alpha = S \ln(2 / failure)`, h = 1, which is Bernstein's inequality for
      one row and one input;
    - `sipp`: :math:`\alpha = 2 C S \ln(8 (P + 1) K / failure)`, h = 1/2;
    - `pfp`: nine times that alpha, h = 1.

    C is the factor by which a maximum over the data batch may fall short of the true one, P the
    output positions of the layer, K the places of its kernel. The published constants make the
    bound larger than 1 at all sizes of use: it compares layers and guarantees nothing then.

    References:
        | SiPPing Neural Networks: Sensitivity-informed Provable Pruning of Neural Networks
          (Baykal et al., 2019)
        | https://arxiv.org/abs/1910.05422
        | Provable Filter Pruning for Efficient Neural Networks (Liebenwein et al., 2020)
        | https://arxiv.org/abs/1911.07412

    Arguments:
        form: Which constants.
        failure: Probability that the bound does not hold, in (0, 1).
        constant: C, positive; no part of `clean`'s alpha.

    Raises:
        ValueError: An argument is out of its range.
    """

    form: Form = "sipp"
    failure: float = 1e-16
    constant: float = 3.0

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"The form is 'sipp', 'pfp' or 'clean', not {self.form!r}.")
        if not 0 < self.failure < 1:
            raise ValueError(f"failure is a probability in (0, 1), not {self.failure!r}.")
        if not self.constant > 0:
            raise ValueError(f"The constant is positive, not {self.constant!r}.")

    def alpha(self, total: Tensor, group: Group) -> Tensor:
        """(rows,): alpha of rows of total sensitivity `total`, read at the places of a group."""
        return self.alpha_at(total, *_places(group))

    def alpha_at(self, total: Tensor, positions: int, kernel: int) -> Tensor:
        """(rows,): alpha for P output positions and K places of the kernel."""
        if self.form == "clean":
            return total * math.log(2 / self.failure)
        log = math.log(8 * (positions + 1) * kernel / self.failure)
        return total * (2 * self.constant * log * _CONSTANTS[self.form].alpha)

    def error(self, alpha: Tensor, draws: Tensor) -> Tensor:
        """The error that `draws` leave, as a share; infinite for none."""
        b = alpha / (3 * draws)
        return (b + (b * b + 6 * b).sqrt()) * self._scale

    def draws(self, alpha: Tensor, error: Tensor) -> Tensor:
        """How many draws an error takes, not rounded: the inverse of `error`."""
        whole = error / self._scale
        return alpha * (6 + 2 * whole) / (3 * whole * whole)

    def decrease(self, alpha: Tensor, draws: Tensor) -> Tensor:
        """error(draws - 1) - error(draws), without loss of digits; for two draws and more."""
        one, two = alpha / (3 * (draws - 1)), alpha / (3 * draws)
        roots = (one * one + 6 * one).sqrt() + (two * two + 6 * two).sqrt()
        step = alpha / (3 * draws * (draws - 1))
        return step * (1 + (one + two + 6) / roots) * self._scale

    def deterministic_error(self, dropped: Tensor) -> Tensor:
        """The error where the sensitivities of what is left out sum to `dropped`."""
        return self.constant * dropped

    @property
    def _scale(self) -> float:
        return 1.0 if self.form == "clean" else _CONSTANTS[self.form].error


def _places(group: Group) -> tuple[int, int]:
    """(P, K) of the layer of a group that has the most places.

    Where units are single weights P is 1: whether their layers were traced depends on what was
    asked before, and a selection must not.
    """
    found = []
    for layer in group.layers:
        parts = [p for p in group.slices if p.module is layer.module and p.dim is not None]
        positions = max((part.positions for part in parts), default=1)
        found.append((positions, torch.Size(layer.weight.shape[2:]).numel()))
    return max(found, key=lambda places: (places[0] + 1) * places[1])
