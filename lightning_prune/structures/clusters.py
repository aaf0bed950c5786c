"""Clusters: columns of a weight in one of several subspaces each; Messi as a structure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_prune.lowrank import balanced, compose, foldable
from lightning_prune.lowrank.clustered import ClusteredFolding, factorise_clusters
from lightning_prune.lowrank.clustering import Clustering, cluster
from lightning_prune.network.groups import Group, alone
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Measure, Structure
from lightning_prune.structures.ranks import Ranks

if TYPE_CHECKING:
    from lightning_prune.network.graph import Graph


@dataclass(frozen=True)
class Clusters(Structure):
    r"""Projective clustering: a unit is a dimension of all subspaces that columns are put in.

    The n columns of a weight with f rows, folded by scheme 0, are put into k clusters, and each
    cluster is projected to its subspace of dimension j. That has :math:`j \, (k f + n)`
    parameters, as k slices of `Ranks` have, but which columns belong together is found. In
    multiply-adds it counts as many at each position, what it takes where every column is
    multiplied with its own cluster's j rows only; two dense layers take
    :math:`j \, k \, (f + n)`.

    The subspaces depend on how many units stay: they are found anew for that number, so only the
    count of the gains that are not 0 matters, and what is written is not gain * units. The
    coordinates of units are singular values of the whole weight, which are not those of any
    cluster. Meant for an allocation by numbers, `Uniform`.

    References:
        | Deep Learning meets Projective Clustering (Maalouf et al., 2020)
        | https://arxiv.org/abs/2010.04290

    Arguments:
        clusters: k; the comparison in ALDS (arXiv 2107.11442) has 3.
        restarts: Starts of the search, of which the best is taken.
        seed: Of the random starts, the same for every layer.

    Raises:
        ValueError: There is less than one cluster, or start.
    """

    clusters: int = 3
    restarts: int = 5
    seed: int = 0

    lasting: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    changes_parameters: ClassVar[bool] = True
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.restarts < 1:
            raise ValueError(
                f"There is at least one cluster and one start, not {self.clusters!r} and "
                f"{self.restarts!r}."
            )

    @property
    def counted(self) -> bool:
        """What a group costs follows from how many of its units stay."""
        return True

    def groups(self, layers: list[Layer], graph: Callable[[], Graph]) -> list[Group]:
        """One group for every layer that is one matrix; the graph is not asked for."""
        return [
            alone(layer, self._folding(layer).full_rank)
            for layer in layers
            if _unfit(layer) is None
        ]

    def refused(self, layers: list[Layer], graph: Callable[[], Graph]) -> dict[str, str]:
        """Layers that cannot be factored, and why."""
        reasons = {layer.name: _unfit(layer) for layer in layers}
        return {name: why for name, why in reasons.items() if why is not None}

    def units(self, layer: Layer, tensor: Tensor) -> Tensor:
        """(n_units, 1): along the first singular pairs of the whole weight, as `Ranks`."""
        return Ranks().units(layer, tensor)[: self._folding(layer).full_rank]

    def costs(self, group: Group, measure: Measure) -> list[int]:
        """By number of units that stay, what the layer costs; never more than dense."""
        (layer,) = group.layers
        folding = self._folding(layer)
        times = 1 if measure == "params" else layer.positions
        ranks = range(group.size + 1)
        return [times * min(folding.numel, folding.params(rank)) for rank in ranks]

    def cost(self, gains: Mapping[Group, Tensor], measure: Measure) -> int:
        """Parameters, or multiply-adds, of the factors, or of the dense weight if it has less."""
        return sum(
            self.costs(group, measure)[int(gain.count_nonzero())] for group, gain in gains.items()
        )

    def settle(self, gains: Mapping[Group, Tensor]) -> dict[Group, Tensor]:
        """Layers whose factors would be no smaller than the dense weight keep all of it."""
        settled = dict(gains)
        for group, gain in gains.items():
            folding = self._folding(group.layers[0])
            if folding.params(int(gain.count_nonzero())) >= folding.numel:
                settled[group] = torch.ones_like(gain)
        return settled

    @torch.no_grad()
    def write(self, group: Group, gain: Tensor) -> None:
        """Cluster the columns for as many units as have a gain; with all, nothing changes."""
        (layer,) = group.layers
        rank = int(gain.count_nonzero())
        if rank == group.size:
            return
        weight = layer.weight
        found = self.clustering(weight.flatten(1).T, rank)
        folding = self._folding(layer, found.owner)
        factorise_clusters(layer.module, folding, *balanced(weight, folding, range(rank)))

    def clustering(self, columns: Tensor, rank: int) -> Clustering:
        """The clusters of (n, f) columns."""
        generator = torch.Generator().manual_seed(self.seed)
        return cluster(columns, self.clusters, rank, generator, self.restarts)

    def restore(self, layer: Layer) -> None:
        """One plain weight again, what the factors stand for."""
        compose(layer.module)

    def _folding(self, layer: Layer, owner: Tensor | None = None) -> ClusteredFolding:
        shape = tuple(layer.weight.shape)
        if owner is None:  # for what does not depend on it
            owner = torch.zeros(math.prod(shape[1:]), dtype=torch.int64, device="meta")
        return ClusteredFolding(shape, slices=self.clusters, owner=owner)


def _unfit(layer: Layer) -> str | None:
    """Why a layer's columns are not clustered; None: they are."""
    groups = getattr(layer.module, "groups", 1)
    if groups > 1 and foldable(layer.module) is None:
        return f"its {groups} groups are several matrices"
    return foldable(layer.module)
