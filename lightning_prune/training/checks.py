"""Checks: what cannot end well is refused before training starts, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING

from torch import nn

from lightning_prune.network.layers import Layer
from lightning_prune.schedules import Schedule
from lightning_prune.training.averaging import averaged_models
from lightning_prune.training.checkpoints import check_checkpoint
from lightning_prune.training.ranks import world

if TYPE_CHECKING:
    import pytorch_lightning as pl


def check_kind(example: str, value: object, kind: type | UnionType) -> None:
    """Refuse an argument of another kind, with an example of what is wanted.

    Raises:
        ValueError: It is one.
    """
    if not isinstance(value, kind):
        raise ValueError(f"Pruning takes {example}, not {value!r}.")


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse strategies and precisions under which masks would not hold.

    Raises:
        ValueError: DeepSpeed, FSDP or model-parallel strategies, or 16-bit weights.
    """
    name = type(trainer.strategy).__name__
    if any(word in name for word in ("DeepSpeed", "FSDP", "ModelParallel")):
        raise ValueError(
            f"{name} shards the weights or owns the optimizer, so pruned weights could not be "
            "held; train with a single device or DDP."
        )
    if str(trainer.precision) == "16-true":
        raise ValueError(
            "precision='16-true' turns zero weights into NaN in adaptive optimizers; use "
            "'16-mixed', 'bf16-mixed', 'bf16-true' or '32-true'."
        )


def check_end(schedule: Schedule, trainer: pl.Trainer) -> None:
    """Refuse events that the run would never reach; known before data are loaded.

    Raises:
        ValueError: An event lies at or beyond `max_epochs` or `max_steps`.
    """
    if getattr(trainer, "fast_dev_run", False):  # a batch to see whether it runs, and no more
        return
    last = max(schedule.targets())
    limit = trainer.max_epochs if schedule.unit == "epoch" else trainer.max_steps
    if limit is not None and 0 <= limit <= last:
        raise ValueError(
            f"The event at {schedule.unit} {last} would never happen: training ends after "
            f"max_{schedule.unit}s={limit} (times count from 0); prune earlier or train longer."
        )


def check_reach(schedule: Schedule, trainer: pl.Trainer) -> None:
    """The same where the limit is in the other unit; known once the loaders are there.

    Raises:
        ValueError: An event lies beyond the end.
    """
    batches = trainer.num_training_batches
    if getattr(trainer, "fast_dev_run", False) or not math.isfinite(batches) or not batches:
        return
    if any(hasattr(callback, "going_to_accumulate_grad_batches") for callback in trainer.callbacks):  # type: ignore[attr-defined]
        return  # steps an epoch change while it trains
    steps = math.ceil(batches / max(trainer.accumulate_grad_batches, 1))
    last = max(schedule.targets())
    if schedule.unit == "step" and trainer.max_epochs not in (None, -1):
        total = steps * trainer.max_epochs
        if last >= total:
            raise ValueError(
                f"The event at step {last} would never happen: {trainer.max_epochs} epochs of "
                f"{steps} steps end at step {total}; prune earlier or train longer."
            )
    if schedule.unit == "epoch" and trainer.max_steps not in (None, -1):
        epochs = math.ceil(trainer.max_steps / steps)
        if last >= epochs:
            raise ValueError(
                f"The event at epoch {last} would never happen: max_steps={trainer.max_steps} ends "
                f"training within {epochs} epochs of {steps} steps; prune earlier or train longer."
            )


def check_optimizers(trainer: pl.Trainer) -> None:
    """Refuse a module whose optimizers the Trainer does not know.

    Raises:
        ValueError: `configure_optimizers` returned none.
    """
    if all("Mock" in type(optimizer).__name__ for optimizer in trainer.optimizers):
        raise ValueError(
            "configure_optimizers returned no optimizer, so pruned weights could not be held at "
            "zero; return the optimizers there, also for manual optimization."
        )


def check_disjoint(mine: Collection[nn.Parameter], others: Iterable[Layer]) -> None:
    """Refuse two callbacks that prune the same weights.

    Raises:
        ValueError: They do; the layers are named.
    """
    held = {id(parameter) for parameter in mine}
    shared = [layer.name for layer in others if id(layer.parameter) in held]
    if shared:
        raise ValueError(
            f"Two Pruning callbacks both prune {', '.join(shared[:3])}"
            f"{', ...' if len(shared) > 3 else ''}: give them disjoint layers with "
            "LayerFilter(include=..., exclude=...), or combine kinds in a second fit."
        )


def check_may_change(structure: str, callbacks: Iterable[object]) -> None:
    """Refuse to replace parameters where others hold on to them.

    Raises:
        ValueError: There are several processes, or averaged weights.
    """
    if world()[1] > 1:
        raise ValueError(
            f"{structure} changes parameters, which several processes cannot do during a fit; "
            "train in one process, or call lightning_prune.prune before the fit."
        )
    if averaged_models(callbacks):
        raise ValueError(
            f"{structure} changes parameters, which averaged weights cannot follow; leave the "
            "averaging callback out."
        )


def check_alone(thin: bool, others: Collection[bool]) -> None:
    """Refuse to take units out, here or in one of the others, if there are others.

    Raises:
        ValueError: So it is.
    """
    if (thin and others) or any(others):
        raise ValueError(
            "thin=True renews parameters, which another Pruning in the same Trainer cannot follow; "
            "use one of them at a time, or thin the network after the fit."
        )


def check_file(path: str | Path | None) -> None:
    """Refuse a checkpoint of which bytes have changed; torch would train on with them.

    Raises:
        ValueError: The file is damaged.
    """
    if path is not None and Path(path).is_file():
        check_checkpoint(path)


def check_state_key(mine: str, here: Collection[str], saved: Collection[str]) -> None:
    """Refuse a checkpoint in which other layers were pruned.

    Raises:
        ValueError: It holds a state for other layers and none for these; they are named.
    """
    others = [key for key in saved if key.startswith("Pruning") and key not in here]
    if others and mine not in saved:
        raise ValueError(
            f"The checkpoint holds the state of {others[0]} and none of {mine}: other layers were "
            "pruned; resume with the same layers, or load its weights and fit anew."
        )


def check_same_size(known: int, found: int) -> None:
    """Refuse the state of another network.

    Raises:
        ValueError: The numbers of parameters differ.
    """
    if known != found:
        raise ValueError(
            f"The pruning state is of a network with {known:,} parameters and this one has "
            f"{found:,}; use a new Pruning for another model."
        )


def check_still_zero(broken: Collection[nn.Parameter]) -> None:
    """Refuse to go on with masks where what they removed is there.

    Raises:
        ValueError: Some of it is.
    """
    if broken:
        raise ValueError(
            f"{len(broken)} layers have weights where this Pruning removed them in an earlier fit; "
            "use a new Pruning for another model, or for one that was loaded anew."
        )
