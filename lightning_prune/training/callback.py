"""The callback: prunes at the times of a schedule, holds the zeros, and resumes exactly."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer

from lightning_prune.methods import Method, find_method, method_name
from lightning_prune.network.layers import LayerFilter
from lightning_prune.network.network import Network
from lightning_prune.prune import Loss
from lightning_prune.report import PruneReport, keep_text
from lightning_prune.schedules import Schedule
from lightning_prune.structures import Measure
from lightning_prune.training import checks
from lightning_prune.training.averaging import mask_averages
from lightning_prune.training.events import EventLog
from lightning_prune.training.hold import Hold
from lightning_prune.training.masks import Masks
from lightning_prune.training.optimizers import clear_removed, raw_optimizer
from lightning_prune.training.position import count_epoch, in_epoch
from lightning_prune.training.pruner import Pruner
from lightning_prune.training.random_state import random_state, set_random_state
from lightning_prune.training.ranks import world
from lightning_prune.training.rewind import Rewind

NEVER = -1


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
        measure: What `keep` counts: `params`, or `macs` (multiply-adds of one sample).
        layers: Which layers are prunable; None: every linear and convolutional weight.
        batches: Batches that a data-informed criterion sees at an event, over all processes.
        loss: (module, batch) -> scalar for gradient criteria; None: the module's `training_step`.
        rewind: What goes back in time at every event; None: nothing.
        hold: Keep removed entries at zero between events; False is soft pruning, in which they
            may come back until the last event.
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
        batches: int = 8,
        loss: Loss | None = None,
        rewind: Rewind | None = None,
        hold: bool = True,
        folder: str | Path | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self.method = find_method(method)
        self.schedule = schedule
        self.measure: Measure = measure
        self.layers = layers or LayerFilter()
        self.batches, self.loss, self.rewind, self.hold = batches, loss, rewind, hold
        self.folder, self.verbose = folder, verbose
        self._pruner = Pruner(self.method, measure, batches, loss) if self.method else None
        self.masks = Masks()
        self.history = EventLog()
        self._last, self._steps = NEVER, 0
        self._snapshot: dict[str, Any] | None = None
        self._dense: dict[str, int] = {}
        self._pending: Mapping[str, Any] | None = None
        self._network: Network | None = None
        self._held = Hold()
        self._unproved = False
        self._check_arguments()

    def _check_arguments(self) -> None:
        checks.check_kind("a schedule such as OneShot(10, keep=0.5)", self.schedule, Schedule)
        checks.check_kind("a method such as 'magnitude'", self.method, Method | None)
        checks.check_kind("layers such as LayerFilter('net.*')", self.layers, LayerFilter)
        checks.check_kind("a rewind such as Rewind(to=0)", self.rewind, Rewind | None)
        if self.measure not in ("params", "macs"):
            raise ValueError(f"The measure is 'params' or 'macs', not {self.measure!r}.")
        keeps = list(self.schedule.targets().values())
        rises = any(later > earlier for earlier, later in pairwise(keeps))
        if self.method and not self.method.criterion.regrows and rises:
            raise ValueError(f"keep may not rise from event to event, as it does in {keeps}.")
        if self.rewind and self.rewind.to > min(self.schedule.targets()):
            raise ValueError(
                f"Rewind(to={self.rewind.to}) lies after the first event at "
                f"{min(self.schedule.targets())}; rewind to a time before it."
            )

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
        if stage == "fit":
            checks.check_strategy(trainer)
            checks.check_end(self.schedule, trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the layers, by name, and bring a restored state to work."""
        self._network = Network(pl_module, self.layers)
        self._check(trainer)
        if self._pending is None and trainer.current_epoch == 0 and trainer.global_step == 0:
            self._steps, self._held.stepped = 0, True
            if self._last > 0:  # a second fit that counts its epochs anew
                self._last, self._snapshot = NEVER, None
        if self._pending is not None and world()[0] == 0:
            set_random_state(self._pending)
        checks.warn_of_early_choices(self.schedule, trainer)
        prunings = [c for c in trainer.callbacks if isinstance(c, Pruning)]  # type: ignore[attr-defined]
        self.history.open(trainer, self.folder, self.verbose, prunings.index(self))
        self.history.say(f"pruning with {method_name(self.method)}: {self._plan()}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hold what is gone; the loaders and the optimizers are there."""
        checks.check_reach(self.schedule, trainer)
        if self.method is not None:
            checks.check_optimizers(trainer)
        checks.warn_of_plain_loader(trainer)
        if self._pending is None and not self._steps:  # a checkpoint without our state
            self._steps = trainer.global_step // max(len(trainer.optimizers), 1)
        if self.masks and self._pruner is not None and self._network is not None:
            last = self._last >= max(self.schedule.targets())
            restored = self._pending is not None
            hold = self.hold or last
            self._pruner.resume(trainer, self._network, self.masks, hold=hold, restored=restored)
        self._unproved = not self.masks
        self._held.attach(_optimizers(trainer), self.masks)
        if self._pending is not None and in_epoch(trainer) and world()[0] == 0:
            # the iterator that was just made may have drawn numbers; at an epoch's beginning the
            # first run made one too, and later than here a batch has drawn for its samples
            set_random_state(self._pending)
        self._pending = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """An event, if one is due."""
        count_epoch(trainer)
        if not self._held.watches(_optimizers(trainer)):
            self._held.attach(_optimizers(trainer), self.masks)
        if self._pruner is not None and self._network is not None and self._unproved:
            self._pruner.rehearse(trainer, self._network, batch, self.schedule)
            self._unproved = False
        now = trainer.current_epoch if self.schedule.unit == "epoch" else self._steps
        if batch_idx > 0 and not self._held.stepped:  # gradients are being accumulated
            return
        if self.rewind and self._snapshot is None and now >= self.rewind.to:
            checks.warn_of_late_snapshot(self.rewind.to, now, self.schedule.unit)
            self._snapshot = self.rewind.capture(trainer, pl_module)
        if (due := self.schedule.due(self._last, now)) is not None:
            self._event(trainer, pl_module, batch, *due)
            self._last = now
        self._held.stepped = False

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """With manual optimization the module clips, and steps, after this hook."""
        if not pl_module.automatic_optimization:
            self._held.mask_gradients()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Zero the gradients of removed entries, before clipping sees them."""
        self._held.mask_gradients(raw_optimizer(optimizer))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """A step is a batch that ended in an optimizer step."""
        self._steps += self._held.stepped

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
        if self.masks.held and self.masks.broken():
            self.masks.apply()
            self.history.say(
                "note: something other than an optimizer step revived removed weights; they were "
                "zeroed again at the end of training"
            )
        missed = [time for time in self.schedule.targets() if time > self._last]
        if missed:
            times = ", ".join(map(str, missed))
            self.history.say(
                f"note: the events at {self.schedule.unit}s {times} did not happen, because "
                f"training ended before; left is {keep_text(self.keep)}"
            )
        self.history.close(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing behind here either: Lightning tears nothing down after an exception.

        Raises:
            ValueError: Nothing was begun, because the checkpoint to resume from is damaged.
        """
        if self._network is None:
            checks.check_file(trainer.ckpt_path)
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave nothing behind: not on the optimizers, and on the module there never was."""
        self._held.detach()
        self._network = self._pending = None

    # state

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, lists and dicts; valid at any time from construction."""
        return {
            "version": 1,
            "method": repr(self.method),
            "last": self._last,
            "steps": self._steps,
            "stepped": self._held.stepped,
            "dense": dict(self._dense),
            "masks": self.masks.state_dict(),
            "snapshot": self._snapshot,
            "history": self.history.state_dict(),
            "random": random_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: It was pruned with another method, or rewinds to something else.
        """
        if state_dict["last"] != NEVER and state_dict["method"] != repr(self.method):
            raise ValueError(
                f"The checkpoint was pruned with {state_dict['method']}, and this run prunes with "
                f"{self.method!r}; resume with the same method, or load its weights and fit anew."
            )
        if self.rewind and state_dict["snapshot"] is not None:
            self.rewind.check(state_dict["snapshot"])
        self._last, self._steps = int(state_dict["last"]), int(state_dict["steps"])
        self._held.stepped = bool(state_dict["stepped"])
        self._dense = dict(state_dict["dense"])
        self._snapshot = state_dict["snapshot"]
        self.masks.load_state_dict(state_dict["masks"])
        self.history.load_state_dict(state_dict["history"])
        self._pending = state_dict["random"]

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

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave hooks and the network behind."""
        return self.__dict__ | {"_held": Hold(), "_network": None}

    # one event

    def _event(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, at: int, keep: float
    ) -> None:
        started = time.perf_counter()
        self.history.end_cycle(trainer)
        told: PruneReport | None = None
        notes: list[str] = []
        if self._pruner is not None and self._network is not None:
            final = at >= max(self.schedule.targets())
            told = self._pruner.prune(
                trainer,
                self._network,
                self.masks,
                batch,
                keep,
                nested=self.hold,
                hold=self.hold or final,
            )
            self._dense = {"params": self._network.params}
        if self.rewind and self._snapshot is not None:
            self.rewind.restore(trainer, pl_module, self._snapshot)
            self.masks.apply()
        if self.masks.held:
            for optimizer in trainer.optimizers:
                notes += clear_removed(raw_optimizer(optimizer), self.masks.held)
            mask_averages(pl_module, trainer.callbacks, self.masks.held)  # type: ignore[attr-defined]
        self._held.assign(_optimizers(trainer), self.masks)
        self.history.add(trainer, told, keep if told else 1.0, time.perf_counter() - started, notes)

    # the rest

    def _plan(self) -> str:
        targets = self.schedule.targets().items()
        if self.method is None:
            return f"events at {self.schedule.unit}s {', '.join(str(t) for t, _ in targets)}"
        return ", ".join(f"{self.schedule.unit} {t}: {keep_text(k)}" for t, k in targets)

    def _check(self, trainer: pl.Trainer) -> None:
        assert self._network is not None
        others = [c for c in trainer.callbacks if c is not self]  # type: ignore[attr-defined]
        mine = [layer.parameter for layer in self._network.layers]
        for other in others:
            if isinstance(other, Pruning) and other._network is not None:
                checks.check_disjoint(mine, other._network.layers)
        if self.method is not None and self.method.structure.changes_parameters:
            checks.check_may_change(type(self.method.structure).__name__, others)
        known = self._dense.get("params", self._network.params)
        checks.check_same_size(known, self._network.params)


def _optimizers(trainer: pl.Trainer) -> list[Optimizer]:
    return [raw_optimizer(optimizer) for optimizer in trainer.optimizers]
