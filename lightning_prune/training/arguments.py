"""Arguments: what a pruning callback can be made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_prune.methods import Method
from lightning_prune.network.layers import LayerFilter
from lightning_prune.schedules import Schedule
from lightning_prune.structures import check_measure
from lightning_prune.training.checks import check_kind
from lightning_prune.training.rewind import Rewind

if TYPE_CHECKING:
    from lightning_prune.training.callback import Pruning


def check_arguments(pruning: Pruning) -> None:
    """Refuse arguments of a callback that are of another kind or do not go together.

    Raises:
        ValueError: They are.
    """
    check_kind("a schedule such as OneShot(10, keep=0.5)", pruning.schedule, Schedule)
    check_kind("a method such as 'magnitude'", pruning.method, Method | None)
    check_kind("layers such as LayerFilter('net.*')", pruning.layers, LayerFilter)
    check_kind("a rewind such as Rewind(to=0)", pruning.rewind, Rewind | None)
    check_measure(pruning.measure, pruning.method.structure if pruning.method else None)
    keeps = list(pruning.schedule.targets().values())
    if pruning.method and not pruning.method.criterion.regrows and keeps != sorted(keeps)[::-1]:
        raise ValueError(f"keep may not rise from event to event, as it does in {keeps}.")
    if pruning.method and pruning.method.criterion.regrows and not pruning.hold:
        name = type(pruning.method.criterion).__name__
        raise ValueError(f"{name} chooses what comes back; leave hold=True.")
    if pruning.method and pruning.method.structure.changes_parameters:
        name = type(pruning.method.structure).__name__
        if not pruning.hold:
            raise ValueError(f"{name} changes parameters, which cannot be held loosely: hold=True.")
        if pruning.rewind and pruning.rewind.weights:
            raise ValueError(
                f"{name} changes parameters, so weights cannot go back to what they were; rewind "
                "the optimizer and its schedule only, with Rewind(weights=False)."
            )
    if pruning.thin and pruning.method:
        name = type(pruning.method.structure).__name__
        if not pruning.method.structure.structured:
            raise ValueError(
                f"thin=True takes out whole filters or channels, and {name} removes none; use a "
                "method such as filter_norm."
            )
        if not pruning.hold:
            raise ValueError("What is taken out cannot come back: thin=True needs hold=True.")
    if pruning.rewind and pruning.rewind.to > min(pruning.schedule.targets()):
        raise ValueError(
            f"Rewind(to={pruning.rewind.to}) lies after the first event at "
            f"{min(pruning.schedule.targets())}; rewind to a time before it."
        )
