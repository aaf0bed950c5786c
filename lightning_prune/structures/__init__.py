"""What stays or goes as a whole."""

from lightning_prune.structures.base import Mask, Measure, Structure, full_cost
from lightning_prune.structures.filters import Filters
from lightning_prune.structures.weights import Weights

__all__ = ["Filters", "Mask", "Measure", "Structure", "Weights", "full_cost"]
