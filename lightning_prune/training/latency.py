"""Latency in training: the tables of a module, measured by one process for all of them."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from lightning_prune.network.latency import LatencyTables
from lightning_prune.network.stopwatch import measure_latencies, measure_runs
from lightning_prune.network.untouched import untouched
from lightning_prune.training.forward import example_forward
from lightning_prune.training.ranks import fail_together, world


def timed(trainer: pl.Trainer, batch: Any) -> LatencyTables:
    """What rank 0 measures of the module in training, on every rank.

    One sample through `forward`, as it is exported; where examples go through `training_step`,
    as many samples as they have.

    Arguments:
        trainer: Running.
        batch: The batch at hand, for data that cannot be read by index.
    """
    run, samples = example_forward(trainer, trainer.lightning_module, batch)
    told: list[Any] = [None]
    failure: Exception | None = None
    if world()[0] == 0:
        try:
            told[0] = _measured(trainer.lightning_module, run, samples).to_dict()
        except Exception as error:
            failure = error
    fail_together(failure)
    if world()[1] > 1:
        dist.broadcast_object_list(told, src=0)
    return LatencyTables.from_dict(told[0])


def _measured(module: pl.LightningModule, run: Any, samples: int) -> LatencyTables:
    seen: list[Any] = []

    def see(_: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        if not (args and kwargs):
            seen.append(kwargs or args)

    handle = module.register_forward_pre_hook(see, with_kwargs=True)
    try:
        with untouched(module), torch.no_grad():
            run()
    finally:
        handle.remove()
    if seen:
        return measure_latencies(module, seen[0])
    return measure_runs(module, run, batch=samples)
