"""What stays or goes as a whole."""

from lightning_prune.structures.base import Mask, Measure, Structure, full_cost
from lightning_prune.structures.blocks import Blocks
from lightning_prune.structures.channels import Channels
from lightning_prune.structures.clusters import Clusters
from lightning_prune.structures.filters import Filters
from lightning_prune.structures.measures import check_measure, measure_name
from lightning_prune.structures.pattern import Pattern
from lightning_prune.structures.ranks import Ranks
from lightning_prune.structures.response import ResponseRanks
from lightning_prune.structures.weights import Weights

__all__ = [
    "Blocks",
    "Channels",
    "Clusters",
    "Filters",
    "Mask",
    "Measure",
    "Pattern",
    "Ranks",
    "ResponseRanks",
    "Structure",
    "Weights",
    "check_measure",
    "full_cost",
    "measure_name",
]
