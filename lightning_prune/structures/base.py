"""Structures: how layers split into units, what units cost and how they are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from lightning_prune.network.groups import Group
from lightning_prune.network.latency import LatencyTables
from lightning_prune.network.layers import Layer

if TYPE_CHECKING:
    from lightning_prune.network.graph import Graph

Measure = Literal["params", "macs", "latency"] | LatencyTables


class Structure(ABC):
    """What stays or goes as a whole.

    A structure is a value: it holds arguments, never a model.

    Attributes:
        lasting: A unit keeps its identity from event to event, so what is gone stays gone.
        nested: Units of a group can only leave from the last to the first.
        round_to: Units of a group stay and leave in blocks of so many.
        exact: What is written is gain * unit; otherwise only how many gains are not 0 matters.
        changes_parameters: `write` replaces parameters, so optimizers have to be refilled.
        structured: Whole outputs leave with everything on them: the network behind an event is
            another one, in which statistics of norms are estimated anew by default.
    """

    lasting: ClassVar[bool] = True
    nested: ClassVar[bool] = False
    round_to: int = 1
    exact: ClassVar[bool] = True
    changes_parameters: ClassVar[bool] = False
    structured: ClassVar[bool] = False

    @property
    def additive(self) -> bool:
        """The cost of a selection is a sum of prices, one price for all units of a group."""
        return False

    @property
    def counted(self) -> bool:
        """The cost of a selection is a sum over groups, each by how many of its units stay.

        Then `costs` says it, and the structure may offer several variants at once.
        """
        return False

    @abstractmethod
    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """The groups that `layers` form; `graph()` traces one forward, and only if called."""

    def variants(self, group: Group) -> list[Structure]:
        """Structures to choose from for this group; additive structures may offer several."""
        return [self]

    def refused(self, layers: list[Layer], graph: Callable[[], Graph]) -> dict[str, str]:
        """By layer's name, why it, or some of it, is in no group; a report's notes say so.

        Default: every layer is whole in a group.
        """
        return {}

    def axis(self, layer: Layer) -> int:
        """The dimension of the weight that the layer's units lie along, where they lie along one.

        Default: its outputs.
        """
        return layer.out_dim

    @abstractmethod
    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        """(n_units, unit_size): the coordinates of a weight-shaped tensor, linear in it."""

    def combine(self, group: Group, scores: Mapping[str, Tensor]) -> Tensor:
        """(group.size,): one score per unit of the group from those of its layers, by name."""
        (layer,) = group.layers
        return scores[layer.name]

    @abstractmethod
    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """What is left of all tensors that the groups touch: parameters, multiply-adds or time.

        The last is counted by `LatencyTables`, for structures whose units leave as a whole.
        """

    def price(self, group: Group, measure: Measure) -> int:
        """What one unit of the group costs; additive structures only."""
        raise NotImplementedError(f"{type(self).__name__} has no price per unit.")

    def costs(self, group: Group, measure: Measure) -> list[int]:
        """By number of units that stay, from none to all, what the group costs; counted ones only.

        It never falls.
        """
        raise NotImplementedError(f"{type(self).__name__} has no cost by number of units.")

    def settle(self, gains: Mapping[Group, Tensor]) -> dict[Group, Tensor]:
        """The gains that are written when these are chosen; `cost` counts them settled.

        What a selection leaves without use goes with it. A structure may add groups that
        follow others and that `groups` does not list; they have no `layers`. Default: the same.
        """
        return dict(gains)

    @abstractmethod
    def write(self, group: Group, gain: Tensor) -> None:
        """Change the layers once; afterwards their units are gain * units before."""

    def hold(self, group: Group, gain: Tensor) -> None:  # noqa: B027
        """Repeat what an optimizer step undid, by gain != 0. Default: nothing to repeat."""

    def restore(self, layer: Layer) -> None:  # noqa: B027
        """Give the layer one plain weight again. Default: it never had another."""


class Mask(Structure):
    """Units that are set to zero and kept there; the model stays a plain module."""

    @abstractmethod
    def factors(self, group: Group, gain: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of a live tensor and a multiplier that broadcasts to it."""

    @torch.no_grad()
    def write(self, group: Group, gain: Tensor) -> None:
        """Multiply every tensor of the group by the gains of its units."""
        for tensor, factor in self.factors(group, gain):
            tensor.mul_(factor.to(tensor.dtype))

    def hold(self, group: Group, gain: Tensor) -> None:
        """Multiply again, by 0 or 1: a rescaled unit is not rescaled twice."""
        self.write(group, (gain != 0).to(gain.dtype))


def full_cost(structure: Structure, groups: Sequence[Group], measure: Measure) -> int:
    """What all units of the groups cost together."""
    if structure.additive and type(structure).price is not Structure.price:
        return sum(group.size * structure.price(group, measure) for group in groups)
    ones = {g: torch.ones(g.size, device=g.layers[0].weight.device) for g in groups}
    return structure.cost(ones, measure)
