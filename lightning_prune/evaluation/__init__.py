"""Evaluation: what a network costs, how flat its loss is, and which modes its samples reach."""

from lightning_prune.evaluation.flatness import Flatness, flatness
from lightning_prune.evaluation.hessian import Hessian, hessian_product
from lightning_prune.evaluation.modes import ModeCoverage, mode_coverage, paper_distance
from lightning_prune.evaluation.size import measure_size, measure_sizes
from lightning_prune.evaluation.tight import TightFlow

__all__ = [
    "Flatness",
    "Hessian",
    "ModeCoverage",
    "TightFlow",
    "flatness",
    "hessian_product",
    "measure_size",
    "measure_sizes",
    "mode_coverage",
    "paper_distance",
]
