"""Errors of low rank: what a layer loses with its j-th singular directions and all after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_prune.criteria.base import Criterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure
from lightning_prune.structures.ranks import Ranks

Bound = Literal["rss", "sqrt_k", "max"]


def spectral_bound(left_out: Tensor, bound: Bound) -> Tensor:
    r"""What the spectral norm of an error is at most, from the norms of its slices.

    With :math:`d_i = \lVert E_i \rVert_2` of k slices side by side,
    :math:`\max_i d_i \le \lVert [E_1 \dots E_k] \rVert_2 \le \sqrt{\sum_i d_i^2}
    \le \sqrt{k} \max_i d_i`. Groups of a grouped layer lie on a diagonal: the largest counts.

    Arguments:
        left_out: (groups, slices, ...) the largest singular value that is left out of each slice.
        bound: `rss`, `sqrt_k`, or `max`, which is no upper bound.

    Returns:
        (...) absolute, in the unit of the weight.
    """
    if bound == "rss":
        return left_out.square().sum(1).sqrt().amax(0)
    largest = left_out.amax((0, 1))
    return largest * left_out.shape[1] ** 0.5 if bound == "sqrt_k" else largest


@dataclass(frozen=True)
class SpectralError(Criterion):
    r"""Relative spectral error of what is left: :math:`\lVert W - \hat W \rVert / \lVert W \rVert`.

    The score of the j-th unit is the error, or a bound on it, of a layer that keeps the first
    j - 1. With one threshold for all layers the largest error of the network is the smallest that
    the budget allows, and `Ranks` with several slices to choose from is ALDS, solved exactly.

    For one slice all bounds are the error itself. For more, the paper proves `sqrt_k`, its code
    takes `max`, which under-estimates, and `rss` is proved just as easily and never larger than
    `sqrt_k`. Errors of different folding schemes are relative to different norms.

    References:
        | Compressing Neural Networks: Towards Determining the Optimal Layer-wise Decomposition
          (Liebenwein et al., 2021), Theorem 1
        | https://arxiv.org/abs/2107.11442

    Arguments:
        bound: `rss`, the root of the sum of the slices' squared errors; `sqrt_k` times the
            largest of them, as proved; `max`, the largest alone, as published code has it.

    Raises:
        ValueError: There is no such bound.
    """

    bound: Bound = "rss"
    needs: ClassVar[type[Structure]] = Ranks

    def __post_init__(self) -> None:
        if self.bound not in ("rss", "sqrt_k", "max"):
            raise ValueError(f"The bounds are 'rss', 'sqrt_k' and 'max', not {self.bound!r}.")

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) float64, not increasing; 0 for a layer of zeros."""
        assert isinstance(structure, Ranks)
        errors = spectral_bound(structure.spectrum(layer), self.bound)
        return errors / (structure.norm(layer) or torch.inf)


@dataclass(frozen=True)
class TailError(Criterion):
    r"""Share of the energy that is lost without a direction and all after it.

    The energy is :math:`\sum_l s_l^2` over all slices, so that the share is the squared relative
    error in the Frobenius norm, exactly and for any slices; or the nuclear norm
    :math:`\sum_l s_l`.

    Arguments:
        norm: `frobenius` or `nuclear`.

    Raises:
        ValueError: There is no such norm.
    """

    norm: Literal["frobenius", "nuclear"] = "frobenius"
    needs: ClassVar[type[Structure]] = Ranks

    def __post_init__(self) -> None:
        if self.norm not in ("frobenius", "nuclear"):
            raise ValueError(f"The norms are 'frobenius' and 'nuclear', not {self.norm!r}.")

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) float64, not increasing, 1 for the first; 0 for a layer of zeros."""
        assert isinstance(structure, Ranks)
        values = structure.spectrum(layer)
        energies = (values.square() if self.norm == "frobenius" else values).sum((0, 1))
        tails = energies.flip(0).cumsum(0).flip(0)  # from the small end
        return tails / (float(tails[0]) or torch.inf)
