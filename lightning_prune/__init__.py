"""Pruning for PyTorch Lightning: exact targets, exact resume, a plain module.

Names are imported when they are first used: torch and Lightning take seconds to import, which a
command line's help does not have.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_prune.configs import compose
    from lightning_prune.export import (
        export_factors,
        export_onnx,
        export_program,
        load_pruned,
        load_thin,
        save_thin,
    )
    from lightning_prune.methods import Method, methods
    from lightning_prune.network.latency import LatencyTables
    from lightning_prune.network.layers import LayerFilter
    from lightning_prune.network.samples import Samples
    from lightning_prune.network.stopwatch import measure_latencies
    from lightning_prune.prune import prune
    from lightning_prune.report import PruneReport
    from lightning_prune.schedules import Constant, Geometric, Grid, OneShot, Polynomial, Steps
    from lightning_prune.table import curves, shifts
    from lightning_prune.thinning import thin
    from lightning_prune.training.callback import Pruning
    from lightning_prune.training.migration import from_model_pruning
    from lightning_prune.training.rewind import Rewind
    from lightning_prune.training.torch_pruned import import_torch_pruned

__version__ = "0.1.0"

_HOMES = {
    "Constant": "schedules",
    "Geometric": "schedules",
    "Grid": "schedules",
    "LatencyTables": "network.latency",
    "LayerFilter": "network.layers",
    "Method": "methods",
    "OneShot": "schedules",
    "Polynomial": "schedules",
    "PruneReport": "report",
    "Pruning": "training.callback",
    "Rewind": "training.rewind",
    "Samples": "network.samples",
    "Steps": "schedules",
    "compose": "configs",
    "curves": "table",
    "export_factors": "export",
    "export_onnx": "export",
    "export_program": "export",
    "from_model_pruning": "training.migration",
    "import_torch_pruned": "training.torch_pruned",
    "load_pruned": "export",
    "load_thin": "export",
    "measure_latencies": "network.stopwatch",
    "methods": "methods",
    "prune": "prune",
    "save_thin": "export",
    "shifts": "table",
    "thin": "thinning",
}

__all__ = [
    "Constant",
    "Geometric",
    "Grid",
    "LatencyTables",
    "LayerFilter",
    "Method",
    "OneShot",
    "Polynomial",
    "PruneReport",
    "Pruning",
    "Rewind",
    "Samples",
    "Steps",
    "__version__",
    "compose",
    "curves",
    "export_factors",
    "export_onnx",
    "export_program",
    "from_model_pruning",
    "import_torch_pruned",
    "load_pruned",
    "load_thin",
    "measure_latencies",
    "methods",
    "prune",
    "save_thin",
    "shifts",
    "thin",
]


class _Package(ModuleType):
    """This package, in which a public name wins over the module of the same name.

    Python sets a module as an attribute of its package when it is first imported; `prune` and
    `methods` would then be the function or the module, depending on what was imported before.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
