"""Groups: runs that are comparable, and what differs between those that are not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_prune.page.config import Flat, shown
from lightning_prune.page.curves import Curve, find_curves
from lightning_prune.page.record import Record

TOLD = 3  # differences that a title names
# of a model, as far as its config has them
SIZES = ("depth", "widths", "width", "hidden", "layers")


@dataclass(frozen=True)
class Group:
    """Runs that differ in their pruning, budget and seed only.

    Arguments:
        number: From 1, in the order in which they were found.
        title: What it is.
        facts: What its dense networks depend on, with the metric and the network's size.
        curves: Its runs by method and setting.
    """

    number: int
    title: str
    facts: Flat
    curves: tuple[Curve, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """Every run, curve by curve."""
        return tuple(record for curve in self.curves for record in curve.records)

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return self.records[0].metric

    @property
    def direction(self) -> str:
        """`max` or `min`, whichever is better."""
        return self.records[0].direction

    @property
    def measure(self) -> str:
        """What `keep` counts; several where curves differ in it."""
        return " or ".join(sorted({record.measure for record in self.records}))

    @property
    def slug(self) -> str:
        """In names of files and anchors."""
        return f"g{self.number}"


def comparable(record: Record) -> Flat:
    """What two runs must have alike to be drawn on one axis.

    That are the data, the task, the network, the dense training and its number of epochs, and the
    metric with its direction. Of a run whose config is unknown the network is known by its
    size and its layers only.
    """
    facts: Flat = {**record.base, "metric": record.metric, "direction": record.direction}
    if not record.base:
        facts |= {
            "network.params": record.dense.get("params"),
            "network.macs": record.dense.get("macs"),
            "network.layers": list(record.layers),
        }
    return facts


def find_groups(records: Iterable[Record]) -> list[Group]:
    """Groups in the order in which their first runs were found."""
    parts: dict[str, list[Record]] = {}
    for record in records:
        key = json.dumps(comparable(record), sort_keys=True, default=str)
        parts.setdefault(key, []).append(record)
    facts = [comparable(part[0]) for part in parts.values()]
    titles = _titles(facts)
    return [
        Group(number, titles[number - 1], facts[number - 1], find_curves(part))
        for number, part in enumerate(parts.values(), 1)
    ]


def differing(flats: Sequence[Flat]) -> dict[str, list[Any]]:
    """Keys whose values are not alike, with the value in each; None where it has none."""
    names = sorted({name for flat in flats for name in flat})
    values = {name: [flat.get(name) for flat in flats] for name in names}
    return {
        name: row
        for name, row in values.items()
        if len({json.dumps(v, default=str) for v in row}) > 1
    }


def _titles(facts: Sequence[Flat]) -> list[str]:
    """What every group is; of groups of one name also in what they differ."""
    names = [" \N{MIDDLE DOT} ".join(_parts(flat)) for flat in facts]
    titles = list(names)
    for name in set(names):
        places = [place for place, each in enumerate(names) if each == name]
        if len(places) == 1:
            continue
        table = differing([facts[place] for place in places])
        keys = telling(table)[:TOLD]
        for column, place in enumerate(places):
            told = ", ".join(
                f"{key.removesuffix('._target_')}={shown(table[key][column])}" for key in keys
            )
            titles[place] = f"{name} ({told})"
    return titles


def telling(names: Iterable[str]) -> list[str]:
    """What a reader wants to know first; of another class not its settings."""
    rooms = ("dataset", "data", "model", "epochs", "optim", "task")
    ends = ("._target_", "dataset.name")
    classes = {f"{name.rpartition('.')[0]}." for name in names if name.endswith(ends)}
    left = [
        name
        for name in names
        if name.endswith(ends) or not any(name.startswith(start) for start in classes)
    ]
    firsts = {name: name.split(".")[0] for name in left}
    place = {room: number for number, room in enumerate(rooms)}
    return sorted(left, key=lambda name: (place.get(firsts[name], len(rooms)), name))


def _parts(flat: Flat) -> Iterator[str]:
    yield str(flat.get("dataset.name") or shown(flat.get("data._target_") or "data unknown"))
    if augment := flat.get("data.augment._target_"):
        moves = dict(_augment(flat))
        told = [f"{key} {shown(flat[n])}" for key, n in moves.items() if type(flat[n]) is not list]
        if moves:
            yield f"{shown(augment)} {', '.join(told)}".strip()
    if model := flat.get("model._target_") or flat.get("task.net._target_"):
        sizes = [f"{key} {shown(flat[f'model.{key}'])}" for key in SIZES if f"model.{key}" in flat]
        yield f"{shown(model)} {', '.join(sizes)}".strip()
    elif layers := flat.get("network.layers"):
        yield f"a network of {len(layers)} layers"
    if "epochs" in flat:
        yield f"{flat['epochs']} epochs"
    yield str(flat["metric"])


def _augment(flat: Flat) -> Iterator[tuple[str, str]]:
    """Of an augmentation what it does: settings that are neither 0 nor False."""
    start = "data.augment."
    for name, value in flat.items():
        if name.startswith(start) and not name.endswith("_") and value and "." not in name[13:]:
            yield name.removeprefix(start), name
