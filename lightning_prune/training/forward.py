"""Forwards for looking: an example of the run's own data, through the module as it is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lightning_prune.network.batches import (
    batch_size,
    draw_batches,
    example_batch,
    network_input,
)
from lightning_prune.prune import Loss
from lightning_prune.training.random_state import random_state_kept
from lightning_prune.training.ranks import world


def example_forward(
    trainer: pl.Trainer, module: pl.LightningModule, batch: Any
) -> tuple[Callable[[], Any], int]:
    """What runs the module once on a few samples, and their number.

    The module's `example_input_array` if it has one; else the first samples of the training
    data, through `forward`, or through `training_step` where there is no `forward` or it does
    not take what the loader gives.

    Arguments:
        trainer: Running.
        module: In training.
        batch: The batch at hand, for data that cannot be read by index; None: begin them.
    """
    example, own = module.example_input_array, None
    if example is not None:
        inputs = trainer.strategy.batch_to_device(example)
    else:
        own = _example(trainer, module, batch)
        inputs = network_input(_first(trainer.train_dataloader, own))

    def forward() -> Any:
        with trainer.precision_plugin.forward_context():
            if example is not None or (_has_forward(module) and _takes(module, inputs)):
                args, kwargs = _arguments(inputs)
                return module(*args, **kwargs)
            if not module.automatic_optimization:
                raise ValueError(
                    "with manual optimization training_step would take optimizer steps; give the "
                    "module an example_input_array and a forward that takes it"
                )
            return _training_step(module, own, 0)

    return forward, batch_size(inputs)


def watched_run(
    trainer: pl.Trainer, module: pl.LightningModule, loss: Loss | None, count: int
) -> tuple[Iterator[Any], Callable[[Any, int], Any]]:
    """Batches for a data-informed criterion, and what runs the module on one of them.

    Raises:
        ValueError: The module optimizes manually, so its `training_step` would train.
    """
    if loss is None and not module.automatic_optimization:
        raise ValueError(
            "With manual optimization training_step would take optimizer steps while the network "
            "is only looked at; give Pruning(..., loss=(module, batch) -> loss)."
        )

    def run(batch: Any, index: int) -> Any:
        own = _transferred(trainer, module, batch)
        with trainer.precision_plugin.forward_context():
            if loss is not None:
                return loss(module, own)
            value = _training_step(module, own, index)
        found = value["loss"] if isinstance(value, dict) else value
        return found.float() if isinstance(found, Tensor) else found

    shard = world()
    # every process sees one at least, or it could say nothing of its layers
    return _drawn(trainer.train_dataloader, max(count, shard[1]), shard), run


def _example(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> Any:
    """The first samples of every loader, or the batch at hand where one cannot be indexed."""
    loaders = trainer.train_dataloader
    if batch is not None and not _indexed(loaders):
        return batch
    with random_state_kept():  # reading and moving samples may draw from any stream
        return _transferred(trainer, module, _examples(loaders))


def _indexed(loaders: Any) -> bool:
    if isinstance(loaders, dict | list | tuple):
        parts = loaders.values() if isinstance(loaders, dict) else loaders
        return all(_indexed(part) for part in parts)
    if not isinstance(loaders, DataLoader) or isinstance(loaders.dataset, IterableDataset):
        return False  # a stream has __getitem__ too, and raises in it
    return hasattr(loaders.dataset, "__getitem__")


def _examples(loaders: Any) -> Any:
    """One small batch in the form that several loaders give one."""
    if isinstance(loaders, dict):
        return {name: _examples(part) for name, part in loaders.items()}
    if isinstance(loaders, list | tuple):
        return [_examples(part) for part in loaders]
    return example_batch(loaders if _indexed(loaders) else iter(loaders))


def _drawn(loaders: Any, count: int, shard: tuple[int, int]) -> Iterator[Any]:
    """Batches in the form that several loaders give them; nothing is begun before the first."""
    if not isinstance(loaders, dict | list | tuple):
        # beginning a stream draws from the random streams
        source = loaders if _indexed(loaders) else iter(loaders)
        yield from draw_batches(source, count, shard=shard)
        return
    for batches in zip(*(_drawn(part, count, shard) for part in _values(loaders)), strict=False):
        named = isinstance(loaders, dict)
        yield dict(zip(loaders, batches, strict=True)) if named else list(batches)


def _first(loaders: Any, batch: Any) -> Any:
    """What the first of several loaders gave; the batch of a single one as it is."""
    while isinstance(loaders, dict | list | tuple) and isinstance(batch, dict | list | tuple):
        loaders = next(iter(_values(loaders)))
        batch = next(iter(_values(batch)))
    return batch


def _values(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _has_forward(module: pl.LightningModule) -> bool:
    """Whether a forward of its own was written, under either name of the package."""
    if "forward" in vars(module):
        return True
    owner = next(kind for kind in type(module).__mro__ if "forward" in vars(kind))
    return owner.__name__ not in ("LightningModule", "Module")


def _takes(module: pl.LightningModule, inputs: Any) -> bool:
    """Whether forward has the parameters that these inputs fill."""
    args, kwargs = _arguments(inputs)
    try:
        inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _arguments(inputs: Any) -> tuple[tuple, dict[str, Any]]:
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _training_step(module: pl.LightningModule, batch: Any, index: int) -> Any:
    """`training_step`, with the index of the batch if it asks for one."""
    indexed = len(inspect.signature(module.training_step).parameters) > 1
    return module.training_step(batch, index) if indexed else module.training_step(batch)


def _transferred(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> Any:
    """The batch as the fit loop would hand it to `training_step`."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)
