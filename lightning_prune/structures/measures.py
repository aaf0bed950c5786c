"""Measures: what a budget may count, and which structures have units that cost some of it."""

from __future__ import annotations

from typing import Any

from lightning_prune.network.latency import LatencyTables
from lightning_prune.structures.base import Measure, Structure

NAMES = ("params", "macs", "latency")


def check_measure(measure: Any, structure: Structure | None = None) -> None:
    """Refuse what cannot be counted.

    Arguments:
        measure: Of a budget.
        structure: Whose units are to cost some of it; None: whatever they are.

    Raises:
        ValueError: There is no such measure, or units of the structure leave layers as wide, and
            hence as slow, as they were.
    """
    if not isinstance(measure, LatencyTables) and measure not in NAMES:
        raise ValueError(
            "The measure is 'params' or 'macs', or 'latency' of whole filters and channels, not "
            f"{measure!r}."
        )
    timed = measure not in ("params", "macs")
    if timed and structure is not None and not structure.structured:
        raise ValueError(
            f"measure='latency' takes whole filters or channels: {type(structure).__name__} leaves "
            "layers as wide as they were, and zeros make no dense kernel faster; choose a method "
            "such as 'filter_norm'."
        )


def measure_name(measure: Measure) -> str:
    """What a report calls it."""
    return "latency" if isinstance(measure, LatencyTables) else measure
