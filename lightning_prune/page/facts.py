"""Facts: what a section says about its runs before it shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lightning_prune.page.config import shown
from lightning_prune.page.groups import Group

METHODS = 24  # that are named one by one
SEEDS = 8


@dataclass(frozen=True)
class Fact:
    """A name and what is said."""

    name: str
    text: str


def facts(group: Group, delta: float) -> tuple[Fact, ...]:
    """Data, network, training, runs, margin and versions, as far as the reports have them."""
    return tuple(_facts(group, delta))


def _facts(group: Group, delta: float) -> Iterator[Fact]:
    flat, records = group.facts, group.records
    yield from _settings("data", flat, ("dataset", "data"))
    yield from _settings("network", flat, ("model",))
    sizes = {(r.dense.get("params"), r.dense.get("macs")) for r in records if r.dense}
    for params, macs in sorted(sizes, key=str):
        counts = [(params, "parameters"), (macs, "multiply-adds of one sample")]
        known = [f"{count:,} {what}" for count, what in counts if count is not None]
        yield Fact("dense size", ", ".join(known))
    yield from _settings("training", flat, ("epochs", "optim", "rewind"))
    better = "larger" if group.direction == "max" else "smaller"
    yield Fact("main metric", f"{group.metric}; {better} is better")
    floors = {record.floor for record in records if record.floor is not None}
    if floors:
        yield Fact("smallest value there can be", _listed(f"{floor:.4f}" for floor in floors))
    yield Fact("keep counts", group.measure)
    methods = sorted({curve.method for curve in group.curves})
    more = f" and {len(methods) - METHODS} more" if len(methods) > METHODS else ""
    many = len(group.curves) > len(methods)
    curves = f"{len(group.curves)} curves of {len(methods)} methods: " if many else ""
    yield Fact("methods", curves + ", ".join(methods[:METHODS]) + more)
    yield Fact("runs", f"{len(records)}; {_seeds(group)}")
    own = {record.delta for record in records if record.delta is not None}
    yield Fact("margin", f"{delta:g} of {group.metric}" + _other(own - {delta}))
    if told := list(_environment(group)):
        yield Fact("environment", ", ".join(told))


def _environment(group: Group) -> Iterator[str]:
    records = group.records
    for name in dict.fromkeys(name for record in records for name in record.environment):
        values = {str(r.environment[name]) for r in records if r.environment.get(name) is not None}
        if values:
            yield f"{name} {_listed(sorted(values))}"


def _settings(title: str, flat: dict, rooms: Iterable[str]) -> Iterator[Fact]:
    """Everything that the config says of it."""
    parts = []
    for room in rooms:
        if room in flat:
            parts.append(f"{room} {shown(flat[room])}")
        start = f"{room}."
        inner = {n.removeprefix(start): v for n, v in flat.items() if n.startswith(start)}
        if inner:
            parts.append(_object(inner))
    if parts:
        yield Fact(title, "; ".join(parts))


def _object(flat: dict) -> str:
    """A class with its settings; of those that are objects themselves in brackets."""
    parts = [shown(flat[name]) for name in ("_target_", "name") if name in flat]
    objects: dict[str, dict] = {}
    for name, value in flat.items():
        first, _, rest = name.partition(".")
        if rest:
            objects.setdefault(first, {})[rest] = value
        elif name not in ("_target_", "name"):
            parts.append(f"{name} {shown(value)}")
    parts += [f"{name} ({_object(inner)})" for name, inner in objects.items()]
    return ", ".join(parts)


def _seeds(group: Group) -> str:
    seeds = sorted({seed for curve in group.curves for seed in curve.seeds})
    if not seeds:
        return "seeds unknown"
    text = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds[:SEEDS]))}"
    text += f" and {len(seeds) - SEEDS} more" if len(seeds) > SEEDS else ""
    if len(seeds) == 1:
        text += ": one, so without bands of confidence"
    return text


def _other(own: set[float]) -> str:
    """The runs' evaluations can have asked for another margin."""
    return f" (the runs' own evaluation: {_listed(f'{d:g}' for d in sorted(own))})" if own else ""


def _listed(texts: Iterable[str]) -> str:
    return " or ".join(texts)
