"""Common corruptions of images, as in CIFAR-10-C: noise, blur, weather, colour and coding."""

from lightning_prune.data.corruptions.corrupt import corrupt
from lightning_prune.data.corruptions.severities import (
    APPROXIMATE,
    BENCHMARK,
    EXTRA,
    SEVERITIES,
    checked_names,
    corruption_names,
)

__all__ = [
    "APPROXIMATE",
    "BENCHMARK",
    "EXTRA",
    "SEVERITIES",
    "checked_names",
    "corrupt",
    "corruption_names",
]
