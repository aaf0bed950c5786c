"""A run: where a pruning in a Trainer stands, what it holds, and one event after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_prune.lowrank import follow_states
from lightning_prune.methods import Method
from lightning_prune.network.layers import LayerFilter
from lightning_prune.network.network import Network
from lightning_prune.schedules import Schedule
from lightning_prune.training import advice, checks
from lightning_prune.training.event import perform
from lightning_prune.training.events import EventLog
from lightning_prune.training.hold import Hold
from lightning_prune.training.masks import Masks
from lightning_prune.training.optimizers import raw_optimizer
from lightning_prune.training.position import in_epoch
from lightning_prune.training.pruner import Pruner
from lightning_prune.training.random_state import random_state, set_random_state
from lightning_prune.training.ranks import world
from lightning_prune.training.removal import Removal
from lightning_prune.training.rewind import Rewind

NEVER = -1


class Run:
    """A pruning at work, and all of it that a checkpoint holds.

    Arguments:
        method: What is pruned; None: nothing, and events only rewind.
        pruner: The method at work; None with it.
        schedule: When, and how much is kept.
        rewind: What goes back in time at every event; None: nothing.
        hold: Keep removed entries at zero between events.
        thin: Take removed units out of the module at every event.

    Attributes:
        masks: What is gone.
        history: What every event did.
        held: What keeps it gone.
        network: The module in training; None while there is no fit.
        last: Time up to which events were done.
        latest: Time of the last event of all.
        changes: Events replace parameters.
        removal: What was taken out of the module; None: everything stays in.
        snapshot: What events rewind to, once it was taken.
        dense: Sizes of the module after the last event, to know it by.
    """

    def __init__(
        self,
        method: Method | None,
        pruner: Pruner | None,
        schedule: Schedule,
        rewind: Rewind | None,
        hold: bool,
        thin: bool = False,
    ) -> None:
        self.method, self.schedule, self.rewind, self.hold = method, schedule, rewind, hold
        self.changes = method is not None and method.structure.changes_parameters
        self.masks, self.history, self.held = Masks(), EventLog(), Hold()
        self.network: Network | None = None
        self.last, self._steps = NEVER, 0
        self.latest = max(schedule.targets())
        self.snapshot: dict[str, Any] | None = None
        self.dense: dict[str, int] = {}
        self._random: Mapping[str, Any] | None = None  # of a checkpoint, until it is set back
        self.pruner = pruner
        self.removal = Removal() if thin and pruner is not None else None
        self._unproved = False
        self._following: RemovableHandle | None = None

    # life cycle

    def follow(self, module: pl.LightningModule) -> None:
        """Let states of the module be dense or factored, where the method makes them either."""
        if self._following is None and self.changes:
            self._following = follow_states(module)
        if self._following is None and self.removal is not None:
            self._following = self.removal.follow(module)

    def begin(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        layers: LayerFilter,
        others: Iterable[Run],
    ) -> None:
        """Find the layers, by name, and bring a restored state to work.

        Raises:
            ValueError: Another run prunes them too, or the state is of another network.
        """
        self.network = (
            self.removal.network(module, layers) if self.removal else Network(module, layers)
        )
        self._check(trainer, self.network, others)
        if self._random is None and trainer.current_epoch == 0 and trainer.global_step == 0:
            self._steps, self.held.stepped = 0, True
            if self.last > 0:  # a second fit that counts its epochs anew
                self.last, self.snapshot = NEVER, None
        if self._random is not None and world()[0] == 0:
            set_random_state(self._random)

    def join(self, trainer: pl.Trainer) -> None:
        """Hold what is gone; the loaders and the optimizers are there."""
        if self._random is None and not self._steps:  # a checkpoint without our state
            self._steps = trainer.global_step // max(len(trainer.optimizers), 1)
        if self.masks and self.pruner is not None and self.network is not None:
            hold = self.hold or self.last >= self.latest
            restored = self._random is not None
            self.pruner.resume(trainer, self.network, self.masks, hold=hold, restored=restored)
        self._unproved = not self.history.events
        self.held.attach(_optimizers(trainer), self.masks)
        if self._random is not None and in_epoch(trainer) and world()[0] == 0:
            # the iterator that was just made may have drawn numbers; at an epoch's beginning the
            # first run made one too, and later than here a batch has drawn for its samples
            set_random_state(self._random)
        self._random = None

    def batch(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before a batch: an event, if one is due."""
        optimizers = _optimizers(trainer)
        if not self.held.watches(optimizers):
            self.held.attach(optimizers, self.masks)
        if self.pruner is not None and self.network is not None and self._unproved:
            self.pruner.rehearse(trainer, self.network, batch, self.schedule)
            self._unproved = False
        self.history.catch_up()
        now = trainer.current_epoch if self.schedule.unit == "epoch" else self._steps
        if batch_idx > 0 and not self.held.stepped:  # gradients are being accumulated
            return
        if self.rewind and self.snapshot is None and now >= self.rewind.to:
            advice.warn_of_late_snapshot(self.rewind.to, now, self.schedule.unit)
            self.snapshot = self.rewind.capture(trainer, module)
        if (due := self.schedule.due(self.last, now)) is not None:
            perform(self, trainer, batch, *due)
            self.last = now
        self.held.stepped = False

    def count(self) -> None:
        """After a batch: a step is a batch that ended in an optimizer step."""
        self._steps += self.held.stepped

    def end(self, trainer: pl.Trainer, keep: float) -> None:
        """Close the last cycle and make sure that every zero is one; `keep` is left."""
        if self.masks.held and self.masks.broken():
            self.masks.apply()
            self.history.console.say(
                "note: something other than an optimizer step revived removed weights; they were "
                "zeroed again at the end of training"
            )
        self.history.console.missed(self.schedule, self.last, keep)
        self.history.close(trainer)

    def leave(self) -> None:
        """Leave nothing on the optimizers, and no event out of the files."""
        self.history.write()
        self.held.detach()
        self.network = self._random = None
        if self._following is not None:
            self._following.remove()
            self._following = None
        if self.removal is not None:
            self.removal.leave()

    # state

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, lists and dicts; valid at any time from construction."""
        return {
            "version": 1,
            "method": repr(self.method),
            "last": self.last,
            "steps": self._steps,
            "stepped": self.held.stepped,
            "dense": dict(self.dense),
            "masks": self.masks.state_dict(),
            "removal": self.removal.state_dict() if self.removal is not None else {},
            "snapshot": self.snapshot,
            "history": self.history.state_dict(),
            "random": random_state(),
            **(self.pruner.state_dict() if self.pruner is not None else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: It was pruned with another method, or rewinds to something else.
        """
        if state["last"] != NEVER and state["method"] != repr(self.method):
            raise ValueError(
                f"The checkpoint was pruned with {state['method']}, and this run prunes with "
                f"{self.method!r}; resume with the same method, or load its weights and fit anew."
            )
        if self.rewind and state["snapshot"] is not None:
            self.rewind.check(state["snapshot"])
        self.last, self._steps = int(state["last"]), int(state["steps"])
        self.held.stepped = bool(state["stepped"])
        self.dense = dict(state["dense"])
        if self.removal is not None:
            self.removal.load_state_dict(state.get("removal", {}))
        self.snapshot = state["snapshot"]
        self.masks.load_state_dict(state["masks"])
        self.history.load_state_dict(state["history"])
        self._random = state["random"]
        if self.pruner is not None:
            self.pruner.load_state_dict(state)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave hooks and the network behind."""
        return self.__dict__ | {"held": Hold(), "network": None, "_following": None}

    def _check(self, trainer: pl.Trainer, network: Network, others: Iterable[Run]) -> None:
        mine, others = [layer.parameter for layer in network.layers], list(others)
        for other in others:
            if other.network is not None:
                checks.check_disjoint(mine, other.network.layers)
        if self.method is not None and self.changes:
            kind = type(self.method.structure).__name__
            checks.check_may_change(kind, trainer.callbacks)  # type: ignore[attr-defined]
        checks.check_alone(self.removal is not None, [o.removal is not None for o in others])
        if self.removal is not None:
            checks.check_may_change("thin=True", trainer.callbacks)  # type: ignore[attr-defined]
        known = self.dense.get("params", network.params)
        checks.check_same_size(known, network.params)


def _optimizers(trainer: pl.Trainer) -> list[Optimizer]:
    return [raw_optimizer(optimizer) for optimizer in trainer.optimizers]
