"""Export: really smaller modules, their checkpoints in plain ones, and what they cost in time."""

from lightning_prune.export.block_linear import BlockLinear
from lightning_prune.export.csr import CSRLinear, CSRSpeed, to_csr
from lightning_prune.export.factors import export_factors
from lightning_prune.export.folder import load_thin, save_thin
from lightning_prune.export.latency import LayerSpeed, input_sizes, slower_layers, tell
from lightning_prune.export.load import load_pruned
from lightning_prune.export.onnx import export_onnx, onnx_runner
from lightning_prune.export.program import export_program, program_runner
from lightning_prune.export.semi_structured import (
    Packed,
    SemiStructured,
    pack_2_4,
    to_semi_structured,
    unpack_2_4,
)
from lightning_prune.export.signature import Exported
from lightning_prune.thinning.attention import SlimAttention

__all__ = [
    "BlockLinear",
    "CSRLinear",
    "CSRSpeed",
    "Exported",
    "LayerSpeed",
    "Packed",
    "SemiStructured",
    "SlimAttention",
    "export_factors",
    "export_onnx",
    "export_program",
    "input_sizes",
    "load_pruned",
    "load_thin",
    "onnx_runner",
    "pack_2_4",
    "program_runner",
    "save_thin",
    "slower_layers",
    "tell",
    "to_csr",
    "to_semi_structured",
    "unpack_2_4",
]
