"""Layer bounds: bounds and measured errors of an event, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.bounds.theory import Predicted

ROUNDING = 1e-4  # of float32 sums over a row


@dataclass(frozen=True)
class LayerBound:
    """One layer's bound beside its error; relative, so 1 is the error of leaving a row out.

    Arguments:
        bound_seen: Bound for the inputs that were seen, largest over rows; None: all were drawn.
        bound: Bound for inputs that were not, largest over rows.
        error: Measured on held-out inputs, largest over rows and inputs.
        error_mean: Measured, the mean over rows of the largest over inputs.
    """

    bound_seen: float | None
    bound: float
    error: float
    error_mean: float


@dataclass(frozen=True)
class Bounds:
    """Bounds beside errors, by layer and in all.

    Arguments:
        layers: By name.
        held_out: Samples that the errors were measured on; 0: there were none but those seen.
    """

    layers: Mapping[str, LayerBound]
    held_out: int

    @property
    def bound(self) -> float:
        """The largest over layers."""
        return max((layer.bound for layer in self.layers.values()), default=math.nan)

    @property
    def error(self) -> float:
        """The largest over layers."""
        return max((layer.error for layer in self.layers.values()), default=math.nan)

    def note(self) -> str:
        """What to make of it, in one sentence."""
        layers = self.layers.values()
        empty = sum(layer.bound >= 1 for layer in layers)
        broken = sum(layer.error > layer.bound * (1 + ROUNDING) for layer in layers)
        where = f"{self.held_out} held-out samples" if self.held_out else "the samples seen"
        told = (
            f"the relative error of a layer's sums is at most {self.bound:.3g} by the theory and "
            f"{self.error:.3g} at most on {where}"
        )
        if empty:
            told += (
                f"; the bound says nothing for {empty} of {len(layers)} layers, where it is 1 or "
                "more: a row that is left out errs by 1"
            )
        if broken:
            told += (
                f"; {broken} of {len(layers)} layers err by more than their bound, so the samples "
                "that were seen do not stand for all data there"
            )
        return told


def tell(predicted: Mapping[str, Predicted], errors: Mapping[str, Tensor], held_out: int) -> Bounds:
    """Join what was predicted and what was measured.

    Arguments:
        predicted: By layer.
        errors: By layer, (filters, 2); see `row_errors`.
        held_out: Samples that they were measured on.
    """
    layers = {}
    for name, (_, seen, bound) in predicted.items():
        rows = ~bound.isnan()
        if name in errors and bool(rows.any()):
            known, measured = seen[~seen.isnan()], errors[name].to(bound.device)[rows]
            layers[name] = LayerBound(
                float(known.max()) if known.numel() else None,
                float(bound[rows].max()),
                float(measured.max()),
                float(measured.to(torch.float64).mean()),
            )
    return Bounds(layers, held_out)
