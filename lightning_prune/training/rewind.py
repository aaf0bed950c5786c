"""Rewinding: an event can send weights, optimizer and schedules back to an earlier time."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_prune.training.optimizers import raw_optimizer

if TYPE_CHECKING:
    import pytorch_lightning as pl


@dataclass(frozen=True)
class Rewind:
    """What goes back at every event, after the weights were chosen and written.

    With the defaults it is learning-rate rewinding: retraining repeats the schedule from `to`
    with a fresh optimizer, and the weights stay. With `weights=True` it is the lottery ticket's
    weight rewinding; parameters and buffers go back, and what was removed stays removed.

    References:
        | Comparing Rewinding and Fine-tuning in Neural Network Pruning (Renda et al., 2020)
        | https://arxiv.org/abs/2003.02389
        | Linear Mode Connectivity and the Lottery Ticket Hypothesis (Frankle et al., 2020)
        | https://arxiv.org/abs/1912.05671

    Arguments:
        to: Time to go back to, in the unit of the schedule, not after its first event.
        weights: Parameters and buffers; costs a copy of the network.
        optimizer: The optimizer's state as it was (empty at time 0; later costs a copy).
        schedulers: Learning-rate schedulers and the hyper-parameters of the groups.

    Raises:
        ValueError: `to` is no whole number from 0 on.
    """

    to: int = 0
    weights: bool = False
    optimizer: bool = True
    schedulers: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.to, bool) or int(self.to) != self.to or self.to < 0:
            raise ValueError(f"Rewind(to=...) is a whole time from 0 on, not {self.to!r}.")

    def capture(self, trainer: pl.Trainer, module: nn.Module) -> dict[str, Any]:
        """A snapshot of tensors, numbers, strings, lists and dicts.

        Raises:
            ValueError: The state of a scheduler is more than that.
        """
        optimizers = [raw_optimizer(o) for o in trainer.optimizers]
        snapshot: dict[str, Any] = {"to": self.to}
        if self.weights:
            tensors = {n: t for n, t in module.state_dict().items() if isinstance(t, Tensor)}
            snapshot["weights"] = {n: t.detach().clone() for n, t in tensors.items()}
        if self.optimizer:
            snapshot["optimizers"] = [plain(o.state_dict()["state"], o) for o in optimizers]
        if self.schedulers:
            schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
            snapshot["schedulers"] = [plain(s.state_dict(), s) for s in schedulers]
            snapshot["groups"] = [
                [plain(_options(group), o) for group in o.param_groups] for o in optimizers
            ]
        return snapshot

    def check(self, snapshot: Mapping[str, Any]) -> None:
        """Refuse the snapshot of another rewind.

        Raises:
            ValueError: It is of another time, or lacks a part that is to go back.
        """
        asked = {"weights": self.weights, "optimizers": self.optimizer, "groups": self.schedulers}
        if snapshot["to"] != self.to or any(n not in snapshot for n, on in asked.items() if on):
            kept = ", ".join(name for name in snapshot if name != "to")
            raise ValueError(
                f"The checkpoint keeps {kept} of time {snapshot['to']} to rewind to, which is not "
                f"what {self} needs; resume with the rewind that the checkpoint was written with."
            )

    @torch.no_grad()
    def restore(
        self,
        trainer: pl.Trainer,
        module: nn.Module,
        snapshot: Mapping[str, Any],
        changes: bool = False,
    ) -> list[str]:
        """Go back; masks have to be applied again afterwards.

        Arguments:
            trainer: Running.
            module: In training.
            snapshot: Of an earlier time.
            changes: Events replace parameters, so that what optimizers remembered has no owner.

        Returns:
            A note, if that was more than nothing.
        """
        optimizers = [raw_optimizer(o) for o in trainer.optimizers]
        if self.weights:
            live = module.state_dict(keep_vars=True)
            for name, tensor in snapshot["weights"].items():
                live[name].detach().copy_(tensor)
        if self.schedulers:
            schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
            for scheduler, state in zip(schedulers, snapshot["schedulers"], strict=True):
                scheduler.load_state_dict(_like(vars(scheduler), state))
            for optimizer, options in zip(optimizers, snapshot["groups"], strict=True):
                for group, option in zip(optimizer.param_groups, options, strict=True):
                    group.update(_like(group, option))
        if not self.optimizer:
            return []
        pairs = zip(optimizers, snapshot["optimizers"], strict=True)
        return [note for optimizer, state in pairs for note in _remember(optimizer, state, changes)]


def _remember(optimizer: Optimizer, state: Mapping[Any, Any], changes: bool) -> list[str]:
    """Give an optimizer the state of an earlier time, or none where parameters are others."""
    optimizer.state.clear()
    if state and changes:
        return [
            f"{type(optimizer).__name__} begins anew: what it remembered at the time of the rewind "
            "was of other parameters"
        ]
    if state:
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": copy.deepcopy(dict(state)), "param_groups": groups})
    return []


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _like(live: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in the types of the living state; some schedulers count milestones in a Counter."""
    own = {name: type(value) for name, value in live.items() if isinstance(value, Counter | tuple)}
    copied = copy.deepcopy(dict(state))
    return {name: own[name](v) if name in own else v for name, v in copied.items()}


def plain(value: Any, owner: object) -> Any:
    """A copy made of what a safe checkpoint can carry.

    Raises:
        ValueError: There is something else in it; its owner is named.
    """
    if isinstance(value, Tensor):
        return value.detach().clone()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: plain(item, owner) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, owner) for item in value]
    raise ValueError(
        f"The state of {type(owner).__name__} holds a {type(value).__name__}, which a checkpoint "
        "that loads safely cannot carry; leave it out of Rewind(...), or use another scheduler."
    )
