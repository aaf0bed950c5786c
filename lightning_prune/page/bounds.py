"""Bounds: what a theory promises of every layer, beside the error that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_prune.page.curves import Curve
from lightning_prune.page.tables import Column

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    Column("curve", "method"),
    Column("keep_target", "keep asked", ".3g"),
    Column("layer", "layer"),
    Column("bound_seen", "bound, seen", ".3g", "for the samples that the criterion saw"),
    Column("bound", "bound", ".3g", "for other samples; 1 and more says nothing"),
    Column("error", "error", ".3g", "largest that was measured, on samples held out"),
    Column("error_mean", "mean error", ".3g", "over the layer's rows"),
    Column("runs", "n", ".0f"),
)


def bounds(curves: Sequence[Curve]) -> DataFrame:
    """Means over seeds of the last event's bounds and errors, a row a layer."""
    import pandas as pd

    rows = [
        {"curve": curve.label, "keep_target": record.points[-1].keep_target, **_named(layer)}
        for curve in curves
        for record in curve.records
        for layer in (record.bounds or {}).get("layers") or ()
    ]
    by = ["curve", "keep_target", "layer"]
    if not rows:
        return pd.DataFrame(columns=[column.name for column in COLUMNS])
    table = pd.DataFrame(rows)
    numbers = [c for c in table.columns if c not in by]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    groups = table.groupby(by, sort=False)
    return groups[numbers].mean().assign(runs=groups.size()).reset_index()


def _named(layer: dict) -> dict:
    return {"layer" if key == "name" else key: value for key, value in layer.items()}
