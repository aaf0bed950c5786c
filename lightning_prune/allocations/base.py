"""Allocations: how much every layer keeps, as one order of all units under one budget."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from lightning_prune.network.groups import Group
from lightning_prune.structures.base import Structure


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to prune a group.

    Arguments:
        group: The units.
        structure: How they are written; several candidates of one group differ in it.
        values: (n_units,) the scores, or numbers whose absolute values are the scores.
        gone: (n_units,) float, 0 where an earlier event removed the unit for good; None: nowhere.
        signed: The scores are the absolute values of `values`.
    """

    group: Group
    structure: Structure
    values: Tensor
    gone: Tensor | None = None
    signed: bool = False

    @property
    def score(self) -> Tensor:
        """(n_units,): larger stays."""
        return self.values.abs() if self.signed else self.values


@dataclass(frozen=True, eq=False)
class Selection:
    """What stays.

    Arguments:
        gains: For every group the structure that was chosen and (n_units,) its gains:
            0 gone, 1 kept, other rescaled.
        cost: What is left of the tensors that the groups touch, in the measure of the budget.
        cut: The key at which the order was cut; None where nothing was cut.
        floors: Names of the groups whose floor kept units that the cut would have removed.
        rescaled: Some gains may be other than 0 and 1.
        chosen: By group, the gains before what they left without use went too; empty where
            nothing does.
    """

    gains: Mapping[Group, tuple[Structure, Tensor]]
    cost: int
    cut: float | None = None
    floors: tuple[str, ...] = ()
    rescaled: bool = False
    chosen: Mapping[Group, Tensor] = field(default_factory=dict)


class OverBudgetError(ValueError):
    """No selection fits.

    Attributes:
        least: The cost of the smallest selection there is.
    """

    def __init__(self, least: int, budget: int) -> None:
        super().__init__(f"the smallest selection costs {least}, the budget is {budget}")
        self.least = least


@dataclass(frozen=True)
class Allocation(ABC):
    """An order: every unit of every group gets one float key, and the smallest leave first.

    Arguments:
        floor: Units that stay in every group whatever their keys, against layer collapse:
            a number of units, or a share of them below 1; 0 for none. By keyword only.

    Raises:
        ValueError: The floor is negative, or neither a share nor a whole number.

    Attributes:
        atomic: Equal keys leave together.
        cuts: The budget decides; otherwise it is an upper bound of what the keys decide.
        needs: The structure the allocation is defined for.
    """

    floor: float = field(default=1, kw_only=True)
    atomic: ClassVar[bool] = False
    cuts: ClassVar[bool] = True
    needs: ClassVar[type[Structure]] = Structure  # type: ignore[type-abstract]

    def __post_init__(self) -> None:
        if isinstance(self.floor, str) or self.floor < 0 or (self.floor >= 1 and self.floor % 1):
            raise ValueError(
                "The floor is a share of units below 1 or a whole number of them, "
                f"not {self.floor!r}."
            )

    @property
    def by_score(self) -> bool:
        """The keys are the scores themselves, so none need be made."""
        return False

    @property
    def expected(self) -> bool:
        """The gains have as many non-zeros as units were kept on average only."""
        return False

    @property
    def foreseen(self) -> bool:
        """What a selection costs at least does not depend on scores: a fit can check it first."""
        return self.cuts

    @abstractmethod
    def keys(self, candidates: Sequence[Candidate]) -> list[Tensor]:
        """(n_units,) for each candidate, on one scale; -inf never stays."""

    def gains(self, candidate: Candidate, kept: Tensor) -> Tensor:
        """(n_units,) gains of the kept units (float 0 or 1), with as many non-zeros."""
        return kept

    def least_units(self, group: Group) -> int:
        """The floor of a group in units."""
        share = self.floor < 1
        return min(group.size, math.ceil(self.floor * group.size) if share else int(self.floor))
