"""Curves: the runs of one method and setting, over budgets and seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from lightning_prune.page.config import Flat, shown
from lightning_prune.page.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

LEVEL = 0.95  # of confidence


@dataclass(frozen=True)
class Curve:
    """Runs that differ in budget and seed only.

    Arguments:
        label: The method, with settings where others have the same method.
        method: Its name.
        records: In the order in which they were found.
    """

    label: str
    method: str
    records: tuple[Record, ...]

    @property
    def seeds(self) -> list[int]:
        """Known ones, each once, sorted."""
        return sorted({record.seed for record in self.records if record.seed is not None})


def find_curves(records: Iterable[Record]) -> tuple[Curve, ...]:
    """Curves sorted by their labels."""
    parts: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        setting = json.dumps(record.setting, sort_keys=True, default=str)
        parts.setdefault((record.method, setting), []).append(record)
    methods: dict[str, list[list[Record]]] = {}
    for (method, _), part in parts.items():
        methods.setdefault(method, []).append(part)
    found = [
        Curve(label, method, tuple(part))
        for method, curves in methods.items()
        for label, part in zip(_labels(method, [c[0].setting for c in curves]), curves, strict=True)
    ]
    return tuple(sorted(found, key=lambda curve: curve.label))


def frame(curves: Sequence[Curve]) -> DataFrame:
    """One row for every run and budget, as `lightning_prune.table.points` chooses them by curve.

    Returns:
        A frame with `run` (a number), `curve`, `method`, `seed`, `measure`, `event`, `last`,
        `keep_target`, `keep`, `keep_params` and `keep_macs` (shares), `metric`, `dense`, `control`
        (at the end), `control_cycle`, `difference` (to the control after as many cycles, else to
        that at the end), `latency_ms` and `latency` (share of the dense network's; both of runs'
        last events only).
    """
    import pandas as pd

    from lightning_prune.table import points

    runs, parts = count(1), []
    for curve in curves:
        rows = [row for record in curve.records for row in _rows(next(runs), curve, record)]
        parts.append(points(pd.DataFrame(rows)))
    table = pd.concat([part.dropna(axis="columns", how="all") for part in parts], ignore_index=True)
    table = table.reindex(columns=parts[0].columns)
    numbers = [c for c in table.columns if c not in ("curve", "method", "measure", "last", "seed")]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table


def spread(rows: DataFrame, column: str, by: Sequence[str] = ("keep_target",)) -> DataFrame:
    """Mean over runs, and the band in which it lies with 95 % confidence, by Student's t.

    Arguments:
        rows: Of `frame`.
        column: What is averaged; rows without a number are left out.
        by: What tells means apart.

    Returns:
        A frame with the columns of `by`, `mean`, `std`, `n`, `low` and `high`; of one run `std`,
        `low` and `high` are NaN.
    """
    from scipy.special import stdtrit

    known = rows[rows[column].notna()]
    table = known.groupby(list(by), sort=True)[column].agg(["mean", "std", "count"]).reset_index()
    table = table.rename(columns={"count": "n"})
    # quantiles of Student's t; `scipy.stats` has them, too, and takes seconds to import
    half = stdtrit((table["n"] - 1).where(table["n"] > 1), (1 + LEVEL) / 2)
    half = half * table["std"] / table["n"] ** 0.5
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def _rows(number: int, curve: Curve, record: Record) -> list[dict[str, Any]]:
    final, dense, control = record.final, record.dense, record.control.get("metric")
    latency = final.get("latency_ms")
    rows = []
    for point in record.points:
        last = point is record.points[-1]
        beside = control if point.control is None else point.control
        lost = None
        if point.metric is not None and beside is not None:
            lost = point.metric - beside
        share = latency / dense["latency_ms"] if latency and dense.get("latency_ms") else None
        rows.append(
            {
                "run": number,
                "curve": curve.label,
                "method": curve.method,
                "seed": record.seed,
                "measure": record.measure,
                "event": point.number,
                "last": last,
                "keep_target": point.keep_target,
                "keep": point.keep,
                "keep_params": point.params,
                "keep_macs": point.macs,
                "metric": point.metric,
                "dense": dense.get("metric"),
                "control": control,
                "control_cycle": point.control,
                "difference": lost,
                "latency_ms": latency if last else None,
                "latency": share if last else None,
            }
        )
    return rows


def _labels(method: str, settings: Sequence[Flat]) -> list[str]:
    """The method, and as few settings as tell all curves of it apart."""
    labels, seen = [method] * len(settings), 1
    names = sorted({name for setting in settings for name in setting}, key=_order)
    for name in names:
        told = [_value(setting, name) for setting in settings]
        if len(set(told)) == 1 or seen == len(settings):
            continue
        short = _short(name, names)
        longer = [f"{label}, {short}={value}" for label, value in zip(labels, told, strict=True)]
        if len(set(longer)) > seen:
            labels, seen = longer, len(set(longer))
    return labels


def _value(setting: Flat, name: str) -> str:
    """What is there; in place of a class there can be a number."""
    return shown(setting.get(name, setting.get(name.removesuffix("._target_"))))


def _order(name: str) -> tuple[bool, bool, int, str]:
    """Parts by class before their settings; the method's before the schedule's."""
    return (
        not name.endswith("_target_"),
        not name.startswith("method"),
        name.count("."),
        name,
    )


def _short(name: str, names: Sequence[str]) -> str:
    """The end of a dotted name, as far as no other name ends alike."""
    parts = name.removesuffix("._target_").split(".")
    for first in range(len(parts) - 1, 0, -1):
        end = ".".join(parts[first:])
        others = [other.removesuffix("._target_") for other in names if other != name]
        if not any(other == end or other.endswith(f".{end}") for other in others):
            return end
    return ".".join(parts)
