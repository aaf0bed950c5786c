"""Bounds: how far the sums of pruned layers can be off, and how far they are."""

from lightning_prune.bounds.layer_bounds import Bounds, LayerBound, tell
from lightning_prune.bounds.low_rank import SpectralBounds, foresee, measure_errors
from lightning_prune.bounds.measurement import measure_bounds
from lightning_prune.bounds.row_errors import RowErrors, row_errors
from lightning_prune.bounds.theory import Predicted, has_theory, predict

__all__ = [
    "Bounds",
    "LayerBound",
    "Predicted",
    "RowErrors",
    "SpectralBounds",
    "foresee",
    "has_theory",
    "measure_bounds",
    "measure_errors",
    "predict",
    "row_errors",
    "tell",
]
