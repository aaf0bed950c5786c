"""Evaluation: what a network costs, and what it lost beside accuracy when it was pruned."""

from importlib import import_module
from typing import TYPE_CHECKING

from lightning_prune.evaluation.excess import (
    excess,
    excess_difference,
    excess_error,
    excess_slopes,
)
from lightning_prune.evaluation.features import backward_selection, informative_features
from lightning_prune.evaluation.flatness import Flatness, flatness
from lightning_prune.evaluation.harm import Harm, class_harm
from lightning_prune.evaluation.hessian import Hessian, hessian_product
from lightning_prune.evaluation.meter import Speed, measure_speed
from lightning_prune.evaluation.modes import ModeCoverage, mode_coverage, paper_distance
from lightning_prune.evaluation.potential import (
    Potential,
    potentials,
    prune_potential,
    summarise_potentials,
)
from lightning_prune.evaluation.reasons import speed_notes
from lightning_prune.evaluation.shifted import evaluate_shifts
from lightning_prune.evaluation.similarity import noise_similarity, potential_over_noise
from lightning_prune.evaluation.size import measure_size, measure_sizes
from lightning_prune.evaluation.slope import Slope, bootstrap_slope, slope_through_origin
from lightning_prune.evaluation.tight import TightFlow

if TYPE_CHECKING:
    from lightning_prune.evaluation.agreement import MatchingPredictions, SoftmaxDistance

# torchmetrics takes seconds to import, so these are imported when they are first used
_HOMES = {"MatchingPredictions": "agreement", "SoftmaxDistance": "agreement"}

__all__ = [
    "Flatness",
    "Harm",
    "Hessian",
    "MatchingPredictions",
    "ModeCoverage",
    "Potential",
    "Slope",
    "SoftmaxDistance",
    "Speed",
    "TightFlow",
    "backward_selection",
    "bootstrap_slope",
    "class_harm",
    "evaluate_shifts",
    "excess",
    "excess_difference",
    "excess_error",
    "excess_slopes",
    "flatness",
    "hessian_product",
    "informative_features",
    "measure_size",
    "measure_sizes",
    "measure_speed",
    "mode_coverage",
    "noise_similarity",
    "paper_distance",
    "potential_over_noise",
    "potentials",
    "prune_potential",
    "slope_through_origin",
    "speed_notes",
    "summarise_potentials",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
