"""How much each layer keeps."""

from lightning_prune.allocations.allocate import allocate, selection_cost
from lightning_prune.allocations.base import Allocation, Candidate, OverBudgetError, Selection
from lightning_prune.allocations.threshold import Fixed, Threshold
from lightning_prune.allocations.uniform import Uniform

__all__ = [
    "Allocation",
    "Candidate",
    "Fixed",
    "OverBudgetError",
    "Selection",
    "Threshold",
    "Uniform",
    "allocate",
    "selection_cost",
]
