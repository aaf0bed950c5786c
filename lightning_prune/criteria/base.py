"""Criteria: how much each unit matters; a larger score stays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure

Reduction = Literal["sum", "max"]


class Criterion(ABC):
    """How much each unit matters.

    Attributes:
        mode: The mode the network is in while it is watched.
        regrows: Units that are gone compete again at the next event.
        needs: The structure the criterion is defined for.
        traced: The scores depend on where layers are applied, so the network is traced first.
    """

    mode: ClassVar[Literal["eval", "train"]] = "eval"
    regrows: ClassVar[bool] = False
    needs: ClassVar[type[Structure]] = Structure  # type: ignore[type-abstract]
    traced: ClassVar[bool] = False

    def __repr__(self) -> str:
        # no address: a checkpoint recognises its method by it; dataclasses make their own
        return f"{type(self).__name__}()"

    @abstractmethod
    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) of the layer; larger stays, NaN is refused."""

    def signed_score(self, layer: Layer, structure: Structure) -> Tensor | None:
        """Numbers whose absolute values are the scores, where they cost nothing; else None."""
        return None

    def group_score(self, group: Group, structure: Structure) -> Tensor | None:
        """(group.size,) where the layers of a group are scored together; None: one by one."""
        return None

    def refused(self, structure: Structure) -> str | None:
        """Why it says nothing of this structure, though it is of a kind it needs; None: it does."""
        return None

    def variants(self, group: Group, structure: Structure) -> list[Structure]:
        """Structures to choose from for this group; what was observed may lie in them."""
        return structure.variants(group)

    def rescaled(self, group: Group, structure: Structure, gain: Tensor) -> Tensor:
        """(group.size,) what is written where these gains were chosen, with the same zeros."""
        return gain


class DataCriterion(Criterion):
    """A criterion that watches the network on batches: reset, observe, (reduce), score.

    What it saw lies in `seen`, one tensor a layer, and nowhere else. `reduction` says how the
    observations of several batches and of several processes combine, so that a sharded run sees
    what a single process would have seen.
    """

    reduction: ClassVar[Reduction] = "sum"
    seen: dict[str, Tensor]

    def reset(self) -> None:
        """Forget every observation."""
        # also in a frozen dataclass
        object.__setattr__(self, "seen", {})

    @abstractmethod
    def observe(self, layer: Layer, value: Tensor) -> None:
        """Take in one observation of the layer; see the two kinds below for what it is."""

    def record(self, layer: Layer, value: Tensor) -> None:
        """Combine an observation with the earlier ones, by the declared reduction."""
        before = self.seen.get(layer.name)
        if before is None:
            self.seen[layer.name] = value
        elif self.reduction == "sum":
            self.seen[layer.name] = before + value
        else:
            self.seen[layer.name] = torch.maximum(before, value)


class ActivationCriterion(DataCriterion):
    """Observes what a layer is called with, at every call: (batch, ..., inputs) or images."""


class GradientCriterion(DataCriterion):
    """Observes the gradient of the loss with respect to a layer's dense weight, once a batch.

    The gradient is that of the batch's mean loss, taken before any masking; it has the weight's
    shape and is in float32 at least. By default the gradients are summed over the samples, so
    that neither the size of batches nor their order decides (but for rounding, and for norms that
    take statistics of a batch).
    """

    mode: ClassVar[Literal["eval", "train"]] = "train"

    def observe(self, layer: Layer, value: Tensor, samples: int = 1) -> None:
        """Combine the gradients of the batches, by the declared reduction.

        Arguments:
            layer: The layer.
            value: Gradient of the mean loss of one batch.
            samples: In the batch; a sum weighs by them, a maximum does not.
        """
        self.record(layer, value * samples if self.reduction == "sum" else value)


class SyntheticCriterion(GradientCriterion):
    """Observes the gradient of an objective of its own, on inputs of its own: no data, no labels.

    Only the shapes of an example are needed, and a forward that takes it.
    """

    mode: ClassVar[Literal["eval", "train"]] = "eval"

    # every process sees the same, and once
    reduction: ClassVar[Reduction] = "max"

    @abstractmethod
    def altered(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, the network is what the criterion looks at; afterwards it is as it was."""

    @abstractmethod
    def objective(self, outputs: Any) -> Tensor:
        """The scalar whose gradient is observed, from what the altered network returns."""
