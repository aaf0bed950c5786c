"""Taking out: an event's masked units leave the module, its optimizers and the snapshot."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from lightning_prune.network.network import Network
from lightning_prune.training.forward import example_forward
from lightning_prune.training.leftover import cut_optimizers, cut_snapshot
from lightning_prune.training.masks import Masks
from lightning_prune.training.optimizers import raw_optimizer
from lightning_prune.training.pruner import Pruner
from lightning_prune.training.removal import Removal


def take_out(
    removal: Removal,
    pruner: Pruner,
    network: Network,
    masks: Masks,
    trainer: pl.Trainer,
    batch: Any,
    snapshot: dict[str, Any] | None,
) -> tuple[Network, list[str]]:
    """Take what is masked out; what a forward does not follow stays masked.

    Arguments:
        removal: Keeps what was taken.
        pruner: Of the run.
        network: As it was pruned just now.
        masks: Hold what was removed, and afterwards what stays masked.
        trainer: Running.
        batch: The batch at hand.
        snapshot: That the run rewinds to, cut too.

    Returns:
        The network afterwards, and notes on what stays masked or was forgotten.
    """
    structure, module = pruner.method.structure, trainer.lightning_module
    groups = structure.groups(network.layers, network.graph)
    flags = masks.gone(groups)
    gone = {group: flags[group.name] == 0 for group in groups if group.name in flags}
    if not any(bool(units.any()) for units in gone.values()):
        return network, []
    forward, _ = example_forward(trainer, module, batch)
    optimizers = [raw_optimizer(optimizer) for optimizer in trainer.optimizers]
    done = removal.remove(network, gone, forward)
    if snapshot is not None:
        cut_snapshot(snapshot, done.names, optimizers, done.cut)
    notes = cut_optimizers(optimizers, done.cut)
    smaller = removal.network(module, network.chosen)
    masks.leave(done.refused)
    if masks:
        pruner.resume(trainer, smaller, masks, hold=True, restored=True)
    return smaller, notes + [f"{name} stays masked: {why}" for name, why in done.refused.items()]
