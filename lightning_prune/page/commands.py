"""Commands: what repeats the runs of a curve."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from lightning_prune.page.curves import Curve

PROGRAM = "lightning-prune"


@dataclass(frozen=True)
class Recipe:
    """How a curve is had again.

    Arguments:
        label: Of the curve.
        lines: Commands; one, where one says it all.
        configs: Files of runs whose command is unknown.
        runs: How many there are.
    """

    label: str
    lines: tuple[str, ...]
    configs: tuple[str, ...]
    runs: int


def recipe(curve: Curve) -> Recipe:
    """The commands of a curve's runs, as few as say exactly these runs."""
    known = [record.command for record in curve.records if record.command is not None]
    configs = [
        f"{record.told}/config.yaml"
        if (record.path / "config.yaml").is_file()
        else f"{record.told}/report.json"
        for record in curve.records
        if record.command is None
    ]
    unique = list(dict.fromkeys(known))
    joined = join(unique)
    lines = [joined] if joined else [shlex.join([PROGRAM, *each]) for each in unique]
    return Recipe(curve.label, tuple(lines), tuple(configs), len(curve.records))


def join(commands: Sequence[Sequence[str]]) -> str | None:
    """One command for runs whose values make up a whole grid; None where they do not.

    Arguments:
        commands: Overrides of every run, no two alike.
    """
    if len(commands) < 2:
        return shlex.join([PROGRAM, *commands[0]]) if commands else None
    rows = [dict(each.partition("=")[::2] for each in command) for command in commands]
    keys = list(rows[0])
    if any(list(row) != keys for row in rows) or any("=" not in o for c in commands for o in c):
        return None
    values = {key: list(dict.fromkeys(row[key] for row in rows)) for key in keys}
    if prod(len(each) for each in values.values()) != len(rows):
        return None
    return shlex.join([PROGRAM, "-m", *(f"{key}={','.join(each)}" for key, each in values.items())])
