"""SNIP: what the loss would lose, to first order, with a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lightning_prune.criteria.base import GradientCriterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure


@dataclass(frozen=True)
class SNIP(GradientCriterion):
    r"""Connection sensitivity: :math:`|w \, \partial L / \partial w|`, the effect of a gate at 1.

    The gradient is that of the loss over all samples, with its sign: averages of absolute values
    are another quantity. Scores are in the unit of the loss times the number of samples; dividing
    by their sum, as the paper does, changes no order.

    Meant for a network at its beginning, in whose norms the running statistics mean nothing yet:
    `mode="train"` takes those of the batch. Near a minimum the averaged gradient is noise; the
    criterion is defined there and not recommended.

    Units of several entries have a gate for each entry, whose sensitivities add up, or one for
    the whole unit. The latter is 0, but for noise, for filters that a norm in train mode reads,
    because scaling such a filter changes nothing.

    Not to be confused with SiPP's sensitivity, which sees no labels.

    References:
        | SNIP: Single-shot Network Pruning based on Connection Sensitivity (Lee et al., 2019)
        | https://arxiv.org/abs/1810.02340

    Arguments:
        gates: `entry`: :math:`\sum_s |w_s g_s|` of a unit; `unit`: :math:`|\sum_s w_s g_s|`.
        mode: Of the network while it is watched, `train` or `eval`.

    Raises:
        ValueError: There are no such gates, or no such mode.
    """

    gates: Literal["entry", "unit"] = "entry"
    mode: Literal["eval", "train"] = "train"  # type: ignore[misc]

    def __post_init__(self) -> None:
        if self.gates not in ("entry", "unit"):
            raise ValueError(f"SNIP has gates for each 'entry' or 'unit', not {self.gates!r}.")
        if self.mode not in ("eval", "train"):
            raise ValueError(f"The mode of a network is 'eval' or 'train', not {self.mode!r}.")

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): the sensitivities."""
        signed = self._signed(layer, structure)
        if signed.shape[1] == 1:
            return signed[:, 0].abs()
        return signed.abs().sum(1) if self.gates == "entry" else signed.sum(1).abs()

    def signed_score(self, layer: Layer, structure: Structure) -> Tensor | None:
        """The products themselves, where units are single weights."""
        signed = self._signed(layer, structure)
        return signed[:, 0] if signed.shape[1] == 1 else None

    def _signed(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units, unit_size): weight times gradient, coordinate by coordinate."""
        gradient = self.seen[layer.name]
        weight = layer.weight.to(gradient.dtype)
        return structure.units(layer, weight) * structure.units(layer, gradient)
