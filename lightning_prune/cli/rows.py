"""Rows: what a run adds to the table of its sweep."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_prune.cli.sweep import swept_settings

EVENT = (
    "epoch", "step", "keep_target", "keep", "params", "nonzero", "macs", "macs_effective", "seconds"
)  # fmt: skip


def rows(
    report: Mapping[str, Any], overrides: Sequence[str], identity: str
) -> list[dict[str, Any]]:
    """One row for every event, in the order of `lightning_prune.curves`, without `run`.

    Arguments:
        report: Of the finished run.
        overrides: What the command set.
        identity: Of the run's config.
    """
    metric = report["extra"].get("main_metric")
    around = {name: _metric(report[name], metric) for name in ("dense", "control")}
    command = shlex.join(["lightning-prune", *overrides])
    table = []
    for number, event in enumerate(report["events"], 1):
        row = {name: report[name] for name in ("method", "seed", "measure")}
        row |= {"event": number, "last": number == len(report["events"])}
        row |= {name: event.get(name) for name in EVENT}
        row |= {"main_metric": metric, "direction": report["extra"].get("direction")}
        row |= {"metric": _metric(event, metric), **around}
        row["control_cycle"] = (event.get("control") or {}).get(metric)
        row |= {n: v for n, v in (event.get("metrics") or {}).items() if n.startswith("test/")}
        row |= swept_settings(list(overrides))
        table.append(row | {"identity": identity, "command": command})
    return table


def _metric(part: Mapping[str, Any] | None, name: str | None) -> float | None:
    return ((part or {}).get("metrics") or {}).get(name)
