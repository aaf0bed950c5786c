"""How much each layer keeps."""

from lightning_prune.allocations.allocate import allocate
from lightning_prune.allocations.base import Allocation, Candidate, OverBudgetError, Selection
from lightning_prune.allocations.bernstein import Bernstein
from lightning_prune.allocations.chosen import selection_cost
from lightning_prune.allocations.equal_error import EqualError
from lightning_prune.allocations.erk import ERK
from lightning_prune.allocations.patterned import Patterned
from lightning_prune.allocations.sampling import Sampled
from lightning_prune.allocations.threshold import Fixed, Threshold
from lightning_prune.allocations.uniform import Uniform
from lightning_prune.allocations.uniform_rows import UniformRows
from lightning_prune.allocations.water_filling import WaterFilling

__all__ = [
    "ERK",
    "Allocation",
    "Bernstein",
    "Candidate",
    "EqualError",
    "Fixed",
    "OverBudgetError",
    "Patterned",
    "Sampled",
    "Selection",
    "Threshold",
    "Uniform",
    "UniformRows",
    "WaterFilling",
    "allocate",
    "selection_cost",
]
