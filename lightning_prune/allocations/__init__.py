"""How much each layer keeps."""

from lightning_prune.allocations.allocate import allocate, selection_cost
from lightning_prune.allocations.base import Allocation, Candidate, OverBudgetError, Selection
from lightning_prune.allocations.erk import ERK
from lightning_prune.allocations.patterned import Patterned
from lightning_prune.allocations.threshold import Fixed, Threshold
from lightning_prune.allocations.uniform import Uniform

__all__ = [
    "ERK",
    "Allocation",
    "Candidate",
    "Fixed",
    "OverBudgetError",
    "Patterned",
    "Selection",
    "Threshold",
    "Uniform",
    "allocate",
    "selection_cost",
]
