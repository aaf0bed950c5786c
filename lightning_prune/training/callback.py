"""The callback: prunes at the times of a schedule, holds the zeros, and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer

from lightning_prune.methods import Method, find_method
from lightning_prune.network.layers import LayerFilter
from lightning_prune.network.samples import Amount
from lightning_prune.prune import Loss
from lightning_prune.schedules import Schedule
from lightning_prune.structures import Measure
from lightning_prune.training import advice, checks
from lightning_prune.training.arguments import check_arguments
from lightning_prune.training.optimizers import raw_optimizer
from lightning_prune.training.position import count_epoch
from lightning_prune.training.pruner import Pruner
from lightning_prune.training.rewind import Rewind
from lightning_prune.training.run import Run


class Pruning(pl.Callback):
    """Prune a LightningModule while a Trainer trains it.

    At the times of the schedule, before the first batch, the callback scores and removes units
    until the stated share of the dense network is left; from then on removed entries are exactly
    zero after every optimizer step, their gradients are zeroed before clipping and before the
    step, and averaged weights (EMA, SWA) are pruned too. The module stays a plain module:
    nothing is attached to it, no key of its state is renamed.

    A run that resumes from a checkpoint repeats the uninterrupted one bit for bit on the CPU, if
    its loader can continue where it was (any at epoch ends without workers,
    `lightning_prune.data.ResumableLoader` anywhere). With several processes random streams are
    set back on rank 0 only. Lightning does not save the running means that it logs for an
    interrupted epoch, and leaves out a validation that was due right after the batch that a
    checkpoint was written in.

    Example:
        ```python
        trainer = pl.Trainer(
            max_epochs=60,
            callbacks=[Pruning("magnitude", Geometric(first=10, every=10, events=5, keep=0.1))],
        )
        ```

    Arguments:
        method: A name of the table of methods, a `Method`, or `none` for the dense control:
            its events prune nothing and rewind all the same.
        schedule: When, and what share of the dense network is kept from then on.
        measure: What `keep` counts: `params`; `macs` (multiply-adds of one sample); or, of
            methods that remove filters or channels, `latency`, measured here before the first
            event, or `LatencyTables` that were measured before.
        layers: Which layers are prunable; None: every linear and convolutional weight.
        batches: Batches that a data-informed criterion sees at an event, over all processes; or
            `Samples`, a number of samples or the failure probability that it follows from.
        loss: (module, batch) -> scalar for gradient criteria; None: the module's `training_step`.
        recalibrate: Estimate the running statistics of norms anew behind an event, on as many
            batches; None: if whole filters or channels leave.
        rewind: What goes back in time at every event; None: nothing.
        hold: Keep removed entries at zero between events; False is soft pruning, in which they
            may come back until the last event.
        thin: Take removed units out of the module and of what its optimizers remember, at every
            event: training goes on with a smaller network, faster. For methods of whole filters or
            channels, in one process. `keep` still is a share of the network that training began
            with.
        folder: Where `events.csv`, `layers.csv` and `report.json` go; None: the logger's folder,
            and nowhere without a logger.
        verbose: Print the schedule and a line for every event.

    Raises:
        ValueError: An argument is unknown or out of range; at the start of a fit also a schedule
            beyond its end, patterns that match nothing, overlapping callbacks, a strategy that
            cannot hold masks, and a checkpoint of another model or method.
    """

    def __init__(  # noqa: PLR0913
        self,
        method: str | Method | None,
        schedule: Schedule,
        *,
        measure: Measure = "params",
        layers: LayerFilter | None = None,
        batches: Amount = 8,
        loss: Loss | None = None,
        recalibrate: bool | None = None,
        rewind: Rewind | None = None,
        hold: bool = True,
        thin: bool = False,
        folder: str | Path | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self.method = find_method(method)
        self.schedule = schedule
        self.measure: Measure = measure
        self.layers = layers or LayerFilter()
        self.batches, self.loss, self.rewind, self.hold = batches, loss, rewind, hold
        self.thin = thin
        self.folder, self.verbose = folder, verbose
        check_arguments(self)
        pruner = None
        if self.method is not None:
            pruner = Pruner(self.method, measure, batches, loss, recalibrate)
        self._run = Run(self.method, pruner, schedule, rewind, hold, thin)
        self.masks, self.history = self._run.masks, self._run.history

    # what can be asked of it

    @property
    def keep(self) -> float:
        """Share of the dense network that is left, in the measure; 1.0 before the first event."""
        return self.history.events[-1]["keep"] if self.history.events else 1.0

    @property
    def events(self) -> list[dict[str, Any]]:
        """What every event did: time, share, seconds, layers, and metrics at its cycle's end."""
        return self.history.events

    @property
    def state_key(self) -> str:
        """Two callbacks in one Trainer differ in their layers."""
        return "Pruning" if self.layers == LayerFilter() else f"Pruning[{self.layers}]"

    # life cycle

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what cannot end well."""
        self._run.follow(pl_module)
        if stage == "fit":
            checks.check_strategy(trainer)
            checks.check_end(self.schedule, trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the layers, by name, and bring a restored state to work."""
        prunings = [c for c in trainer.callbacks if isinstance(c, Pruning)]  # type: ignore[attr-defined]
        others = [callback._run for callback in prunings if callback is not self]
        self._run.begin(trainer, pl_module, self.layers, others)
        advice.warn_of_early_choices(self.schedule, trainer)
        self.history.open(
            trainer,
            self.folder,
            self.verbose,
            others=prunings.index(self),
            planned=len(self.schedule.targets()),
        )
        self.history.console.plan(self.method, self.schedule)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hold what is gone; the loaders and the optimizers are there."""
        checks.check_reach(self.schedule, trainer)
        if self.method is not None:
            checks.check_optimizers(trainer)
        advice.warn_of_plain_loader(trainer)
        self._run.join(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """An event, if one is due."""
        count_epoch(trainer)
        self._run.batch(trainer, pl_module, batch, batch_idx)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """With manual optimization the module clips, and steps, after this hook."""
        if not pl_module.automatic_optimization:
            self._run.held.mask_gradients()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Zero the gradients of removed entries, before clipping sees them."""
        self._run.held.mask_gradients(raw_optimizer(optimizer))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """A step is a batch that ended in an optimizer step."""
        self._run.count()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share beside the scores, for those who choose by it."""
        function = trainer.state.fn
        if function is not None and function.value == "fit" and not trainer.sanity_checking:
            pl_module.log(self.history.named("keep"), self.keep, sync_dist=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share."""
        name = self.history.named("keep")
        pl_module.log(name, self.keep, prog_bar=True, sync_dist=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the last cycle and make sure that every zero is one."""
        self._run.end(trainer, self.keep)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing behind here either: Lightning tears nothing down after an exception.

        Raises:
            ValueError: Nothing was begun, because the checkpoint to resume from is damaged.
        """
        if self._run.network is None:
            checks.check_file(trainer.ckpt_path)
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave nothing behind: not on the optimizers, and on the module there never was."""
        self._run.leave()

    # state

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, lists and dicts; valid at any time from construction."""
        return self._run.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: It was pruned with another method, or rewinds to something else.
        """
        self._run.load_state_dict(state_dict)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what only the Trainer knows: the metrics of the cycle so far."""
        checkpoint["callbacks"][self.state_key]["history"] = self.history.state_dict(trainer)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to continue from a damaged file, or one that other layers were pruned in."""
        checks.check_file(trainer.ckpt_path)
        if trainer.state.fn == "fit":
            here = [callback.state_key for callback in trainer.callbacks]  # type: ignore[attr-defined]
            checks.check_state_key(self.state_key, here, checkpoint["callbacks"])
