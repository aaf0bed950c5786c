"""Configs of runs, flat: what a dense network depends on, and what its pruning does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from lightning_prune.configs import MACHINE, OUTPUT, PATHS

# a network is the same with and without these
BESIDES = {"debug", "flatness"}
# what the pruned network alone has
PRUNING = {
    "method", "measure", "batches", "hold", "recalibrate", "thin", "layers", "schedule",
}  # fmt: skip
# these of a schedule are the axis of a curve
BUDGETS = {"keep", "keeps"}
# how Hydra builds an object
BUILDING = {"_convert_", "_partial_", "_recursive_"}
# said already by these, which the task and the trainer refer to
AGAIN = {
    "model": ("task.net.",),
    "optim": ("task.optimizer.", "task.scheduler."),
    "epochs": ("trainer.max_epochs",),
}

Flat = dict[str, Any]


def dense_part(config: Mapping[str, Any]) -> Flat:
    """What a network that is never pruned depends on, but for seeds: by dotted names."""
    flat = flatten({k: v for k, v in config.items() if k not in OUTPUT | BESIDES | PRUNING})
    again = tuple(p for key, parts in AGAIN.items() if config.get(key) for p in parts)
    return {
        name: value
        for name, value in flat.items()
        if name.rpartition(".")[2] != "seed" and not (again and name.startswith(again))
    }


def pruning_part(config: Mapping[str, Any]) -> Flat:
    """What tells curves of one dense network apart: by dotted names, without the budgets."""
    flat = flatten({k: v for k, v in config.items() if k in PRUNING})
    budgets = {f"schedule.{name}" for name in BUDGETS}
    return {
        name: value
        for name, value in flat.items()
        if name not in budgets and (name, value) != ("thin", False)
    }


def flatten(value: Any, prefix: str = "") -> Flat:
    """Values by dotted names, without those of the machine, and without None.

    A setting that is None does nothing, as one that an earlier version did not have. Of a path
    the last part is left, and of a reference to the machine's folder nothing; lists are values.
    """
    found: Flat = {}
    for key, entry in value.items():
        name = f"{prefix}{key}"
        if key in MACHINE | BUILDING or entry is None:
            continue
        if isinstance(entry, Mapping):
            found |= flatten(entry, f"{name}.")
        elif key in PATHS:
            if not str(entry).startswith("${"):
                found[name] = PurePath(str(entry)).name
        else:
            found[name] = entry
    return found


def shown(value: Any) -> str:
    """A setting in few characters; of a class its name."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(shown(entry) for entry in value)}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {shown(entry)}" for key, entry in value.items())
        return f"{{{inner}}}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    # a class by its name, but no number, file or address by what follows a point in it
    parts = text.split(".")
    return parts[-1] if len(parts) > 1 and all(part.isidentifier() for part in parts) else text
