"""A record: what the page keeps of one run, a small part of its report."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import Any

from lightning_prune.page.config import Flat, dense_part, pruning_part

COUNTS = ("params", "nonzero", "macs", "macs_effective", "bytes", "latency_ms")
# of which a smaller value is better, where a report does not say
FALLING = ("loss", "nll", "error", "perplexity", "bits", "mse", "mae", "distance")


@dataclass(frozen=True)
class Point:
    """One event.

    Arguments:
        number: From 1.
        keep_target: Share that was asked for.
        keep: Share that is kept, in the run's measure.
        params: Share of the parameters that are not zero; None: not counted.
        macs: Share of the multiply-adds that are left; None: not counted.
        metric: At the end of the event's cycle; None: unknown.
        control: Of the dense control after as many cycles; None: unknown.
        layers: Share of every layer's units that is kept, in the order of `Record.layers`.
    """

    number: int
    keep_target: float
    keep: float
    params: float | None
    macs: float | None
    metric: float | None
    control: float | None
    layers: array


@dataclass(frozen=True)
class Record:
    """One run.

    Arguments:
        path: Its folder.
        told: The folder as the page names it.
        identity: Equal for runs of the same numbers.
        method: Its name.
        seed: Of the run; None: unknown.
        measure: What `keep` counts.
        metric: Name of the main metric.
        direction: `max` or `min`, whichever is better.
        floor: Smallest value that the metric can have; None: unknown.
        dense: Counts, `metric` and `latency_ms` of the dense network; empty: unknown.
        control: The same of the dense control.
        final: The same of the pruned network.
        points: Its events.
        layers: Names of layers.
        bounds: Of the last event, as in the report.
        environment: Versions.
        base: What the dense network depends on.
        setting: What the pruning does.
        command: Overrides that repeat the run; None: unknown.
        delta: Of the run's own evaluation; None: it has none.
    """

    path: Path
    told: str
    identity: str
    method: str
    seed: int | None
    measure: str
    metric: str
    direction: str
    floor: float | None
    dense: dict[str, float]
    control: dict[str, float]
    final: dict[str, float]
    points: tuple[Point, ...]
    layers: tuple[str, ...]
    bounds: dict[str, Any] | None
    environment: dict[str, Any]
    base: Flat
    setting: Flat
    command: tuple[str, ...] | None
    delta: float | None = None


@dataclass
class Shared:
    """What many runs have alike is held once."""

    known: dict[str, Any] = field(default_factory=dict)

    def __call__(self, value: Any) -> Any:
        """The first value that is equal to this one."""
        return self.known.setdefault(json.dumps(value, sort_keys=True, default=str), value)


def build(
    report: Mapping[str, Any], about: Mapping[str, Any], metric: str | None, shared: Shared
) -> Record:
    """The record of a report.

    Arguments:
        report: Of a run, whole.
        about: `path`, `told`, `identity` and `command` of the record.
        metric: That is drawn; None: the report's main metric.
        shared: What earlier records hold.

    Raises:
        ValueError: The report has no event, or none of its events has the metric.
    """
    extra, config = report["extra"] or {}, report["config"] or {}
    if not report["events"]:
        raise ValueError("it has no event")
    name = metric or extra.get("main_metric") or _metric(report)
    if name is None:
        raise ValueError("its report names no main metric, and no event has a number of one")
    names = tuple(intern(row["name"]) for row in report["layers"] or ())
    points = _points(report, name, names)
    if all(point.metric is None for point in points):
        raise ValueError(f"no event has the metric {name}")
    own = extra.get("direction") if name == extra.get("main_metric") else None
    seed = report["seed"]
    return Record(
        **about,
        method=intern(str(report["method"] or report["events"][-1].get("method") or "unnamed")),
        seed=seed if seed is not None else config.get("seed"),
        measure=str(report["measure"] or report["events"][-1].get("measure") or "params"),
        metric=name,
        direction=own or direction(name),
        floor=extra.get("floor"),
        dense=_network(report["dense"], name),
        control=_network(report["control"], name),
        final=_network(report["final"], name),
        points=points,
        layers=shared(names),
        bounds=report["bounds"],
        environment=shared(report["environment"] or {}),
        base=shared(dense_part(config)),
        setting=shared(pruning_part(config)),
        delta=(extra.get("evaluation") or {}).get("delta"),
    )


def direction(metric: str) -> str:
    """`min` for losses and errors, else `max`."""
    return "min" if any(part in metric.lower() for part in FALLING) else "max"


def _metric(report: Mapping[str, Any]) -> str | None:
    """A metric of the test set, else of validation, that the last event has a number of."""
    known = report["events"][-1].get("metrics") or {}
    names = [name for name, value in known.items() if value is not None]
    order = ("test/", "val/")
    named = [name for start in order for name in names if name.startswith(start)]
    best = [name for name in named if direction(name) == "max"]
    return next(iter(best or named), None)


def _network(part: Mapping[str, Any] | None, metric: str) -> dict[str, float]:
    """Counts, latency (of the thin network, where there is one) and the metric."""
    if not part:
        return {}
    found = {name: part.get(name) for name in COUNTS}
    if thin := part.get("thin"):
        found |= {name: thin.get(name) for name in ("bytes", "latency_ms")}
    found["metric"] = (part.get("metrics") or {}).get(metric)
    return {name: value for name, value in found.items() if value is not None}


def _points(report: Mapping[str, Any], metric: str, names: tuple[str, ...]) -> tuple[Point, ...]:
    dense, final, events = report["dense"] or {}, report["final"] or {}, report["events"]
    found = []
    for number, event in enumerate(events, 1):
        # what regrew counts as zero at its event, and does no longer after training
        counted = final if number == len(events) and final.get("nonzero") is not None else event
        kept = {row["name"]: _share(row) for row in event.get("layers") or ()}
        found.append(
            Point(
                number=number,
                keep_target=float(event["keep_target"]),
                keep=float(event["keep"]),
                params=_ratio(counted.get("nonzero"), dense.get("params") or event.get("params")),
                macs=_ratio(counted.get("macs_effective"), dense.get("macs") or event.get("macs")),
                metric=(event.get("metrics") or {}).get(metric),
                control=(event.get("control") or {}).get(metric),
                layers=array("f", [kept.get(name, float("nan")) for name in names]),
            )
        )
    return tuple(found)


def _share(row: Mapping[str, Any]) -> float:
    """Of a layer's units; of a factored layer, whose units are ranks, of its weights."""
    if row.get("slices") or not row.get("units"):
        return row["nonzero"] / max(row["params"], 1)
    return row["kept"] / row["units"]


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
