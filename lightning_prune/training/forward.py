"""Forwards for looking: an example of the run's own data, through the module as it is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_prune.criteria import DataCriterion, GradientCriterion, SyntheticCriterion
from lightning_prune.network.batches import batch_size, network_input
from lightning_prune.network.samples import Amount
from lightning_prune.prune import Loss
from lightning_prune.training import loaders
from lightning_prune.training.random_state import random_state_kept
from lightning_prune.training.ranks import world


class NoForwardError(ValueError):
    """A module cannot be run without training it."""


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
        inputs = network_input(loaders.first(trainer.train_dataloader, own))

    def forward() -> Any:
        with trainer.precision_plugin.forward_context():
            if example is not None or _forwards(module, inputs):
                return _called(module, inputs)
            if not module.automatic_optimization:
                raise ValueError(
                    "with manual optimization training_step would take optimizer steps; give the "
                    "module an example_input_array and a forward that takes it"
                )
            return _training_step(module, own, 0)

    return forward, batch_size(inputs)


def watched_run(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    criterion: DataCriterion,
    loss: Loss | None,
    amount: Amount,
) -> tuple[Iterator[Any], Callable[[Any, int], Any]]:
    """Batches for a data-informed criterion, and what runs the module on one of them.

    Gradients are those of `loss`, or of what `training_step` returns. Activations are those of
    `forward` where it takes what the only loader gives, so that no labels are used; else of
    `training_step` too. A synthetic criterion gets the outputs of `forward` on an example.

    Raises:
        ValueError: The module optimizes manually, so its `training_step` would train; or it has
            no forward for a synthetic criterion.
    """
    if isinstance(criterion, SyntheticCriterion):
        return _synthetic_run(trainer, module, criterion)
    labels = isinstance(criterion, GradientCriterion)
    batches = loaders.drawn(trainer.train_dataloader, amount, world())
    return batches, runner(trainer, module, labels=labels, loss=loss)


def drawn_batches(trainer: pl.Trainer, amount: Amount, *, held_out: bool = False) -> Iterator[Any]:
    """The batches that all processes together watch, or as many of the next; on every process."""
    return loaders.drawn(trainer.train_dataloader, amount, (0, 1), held_out)


def runner(
    trainer: pl.Trainer, module: pl.LightningModule, *, labels: bool, loss: Loss | None = None
) -> Callable[[Any, int], Any]:
    """What runs the module on a batch.

    Arguments:
        trainer: Running.
        module: In training.
        labels: Through `training_step`, which returns the loss; else through `forward` where it
            takes what the only loader gives.
        loss: (module, batch) -> scalar, takes the place of both.

    Returns:
        (batch, index) -> the loss, or whatever `forward` returns. It raises `NoForwardError` if
        the module optimizes manually and has no forward of that kind.
    """
    half = labels and getattr(trainer.precision_plugin, "precision", "") == "16-mixed"

    def run(batch: Any, index: int) -> Any:
        own = _transferred(trainer, module, batch)
        with trainer.precision_plugin.forward_context(), ExitStack() as stack:
            if half:  # no scaler is at work here, and small gradients would be zeros
                stack.enter_context(torch.autocast(module.device.type, enabled=False))
            if loss is not None:
                return loss(module, own)
            inputs = network_input(own)
            if (
                not labels
                and loaders.single(trainer.train_dataloader)
                and _forwards(module, inputs)
            ):
                return _called(module, inputs)
            if not module.automatic_optimization:
                raise NoForwardError(
                    "With manual optimization training_step would take optimizer steps while the "
                    "network is only looked at; give Pruning(..., loss=(module, batch) -> loss)."
                )
            value = _training_step(module, own, index)
        found = value["loss"] if isinstance(value, dict) else value
        return found.float() if isinstance(found, Tensor) else found

    return run


def _synthetic_run(
    trainer: pl.Trainer, module: pl.LightningModule, criterion: DataCriterion
) -> tuple[Iterator[Any], Callable[[Any, int], Any]]:
    example = module.example_input_array
    if example is not None:
        inputs = trainer.strategy.batch_to_device(example)
    else:
        own = _example(trainer, module, None)
        inputs = network_input(loaders.first(trainer.train_dataloader, own))
        if not _forwards(module, inputs):
            raise ValueError(
                f"{type(criterion).__name__} looks at a forward alone; give the module an "
                "example_input_array and a forward that takes it."
            )
    return iter([inputs]), lambda batch, _: _called(module, batch)


def _example(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> Any:
    """The first samples of every loader, or the batch at hand where one cannot be indexed."""
    source = trainer.train_dataloader
    if batch is not None and not loaders.indexed(source):
        return batch
    with random_state_kept():  # reading and moving samples may draw from any stream
        return _transferred(trainer, module, loaders.examples(source))


def _forwards(module: pl.LightningModule, inputs: Any) -> bool:
    """Whether the module has a forward that takes these inputs."""
    return _has_forward(module) and _takes(module, inputs)


def _called(module: pl.LightningModule, inputs: Any) -> Any:
    args, kwargs = _arguments(inputs)
    return module(*args, **kwargs)


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
