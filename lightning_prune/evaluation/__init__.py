"""Evaluation: what a network costs, how flat its loss is, and which modes its samples reach."""

from lightning_prune.evaluation.flatness import Flatness, flatness
from lightning_prune.evaluation.hessian import Hessian, hessian_product
from lightning_prune.evaluation.meter import Speed, measure_speed
from lightning_prune.evaluation.modes import ModeCoverage, mode_coverage, paper_distance
from lightning_prune.evaluation.reasons import speed_notes
from lightning_prune.evaluation.size import measure_size, measure_sizes
from lightning_prune.evaluation.tight import TightFlow

__all__ = [
    "Flatness",
    "Hessian",
    "ModeCoverage",
    "Speed",
    "TightFlow",
    "flatness",
    "hessian_product",
    "measure_size",
    "measure_sizes",
    "measure_speed",
    "mode_coverage",
    "paper_distance",
    "speed_notes",
]
