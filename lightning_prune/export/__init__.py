"""Export: really smaller modules, their checkpoints in plain ones, and what they cost in time."""

from lightning_prune.export.block_linear import BlockLinear
from lightning_prune.export.factors import export_factors
from lightning_prune.export.latency import LayerSpeed, input_sizes, slower_layers, tell
from lightning_prune.export.load import load_pruned

__all__ = [
    "BlockLinear",
    "LayerSpeed",
    "export_factors",
    "input_sizes",
    "load_pruned",
    "slower_layers",
    "tell",
]
