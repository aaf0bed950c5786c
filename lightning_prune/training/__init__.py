"""The Trainer's side of pruning.

Names are imported when they are first used, because folders and checkpoints are also looked at
where Lightning's seconds of import time are not to be had.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_prune.training.callback import Pruning
    from lightning_prune.training.planar_images import PlanarImages
    from lightning_prune.training.rewind import Rewind

_HOMES = {"PlanarImages": "planar_images", "Pruning": "callback", "Rewind": "rewind"}

__all__ = ["PlanarImages", "Pruning", "Rewind"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
