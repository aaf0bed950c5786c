"""Clustered foldings: a weight as one matrix for each cluster of its columns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightning_prune.lowrank.factors import Factors, factors_of
from lightning_prune.lowrank.folding import Folding


@dataclass(frozen=True)
class ClusteredFolding(Folding):
    """How a weight is seen as as many matrices as its columns have clusters.

    Each is the whole weight, folded by scheme 0, with zeros in the columns of other clusters. The
    encoder is compact, (rank, columns): of each column its coordinates in its own cluster's
    subspace. The decoder is that of as many slices: their bases side by side.

    Arguments:
        shape: Of the weight.
        groups: 1.
        scheme: 0.
        slices: Number of clusters.
        owner: (columns,) int64, the cluster of each column; by keyword only.

    Raises:
        ValueError: There are groups, another scheme, or owners of other columns.
    """

    owner: Tensor = field(kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.groups, self.scheme) != (1, 0) or self.slices < 1:
            raise ValueError("Columns are clustered of a weight that is one matrix, by scheme 0.")
        if self.owner.shape != (self.columns,):
            raise ValueError(
                f"{len(self.owner)} owners do not fit the {self.columns} columns of a weight of "
                f"{self.shape}."
            )

    @property
    def full_rank(self) -> int:
        """The smallest rank at which factors are no smaller than the weight, at most the rows."""
        return min(self.rows, -(-self.columns // self.slices))

    def matrices(self, weight: Tensor) -> Tensor:
        """(clusters, rows, columns) of a weight-shaped tensor, zeros for columns of others."""
        return weight.reshape(1, self.rows, self.columns) * self._own(weight)

    def weight(self, matrices: Tensor) -> Tensor:
        """The weight-shaped tensor of matrices; the inverse."""
        return (matrices * self._own(matrices)).sum(0).reshape(self.shape)

    def encoder_shape(self, rank: int) -> tuple[int, ...]:
        """Of the compact encoder."""
        return (rank, self.columns)

    def encoder(self, right: Tensor) -> Tensor:
        """The compact encoder of right factors (clusters, rank, columns)."""
        return right.gather(0, self.owner.expand(1, right.shape[1], -1))[0]

    def right(self, encoder: Tensor) -> Tensor:
        """(clusters, rank, columns) right factors of a compact encoder."""
        return encoder * self._own(encoder)

    def spread(self, encoder: Tensor) -> Tensor:
        """The weight of a plain encoder, that of one slice and `clusters` times the rank.

        With it the decoder stays as it is; of all its entries one in `clusters` is not zero.
        """
        whole = Folding(self.shape)
        return whole.encoder(self.right(encoder).flatten(0, 1)[None])

    def _own(self, like: Tensor) -> Tensor:
        """(clusters, 1, columns): 1 for the columns of each."""
        clusters = torch.arange(self.slices, device=self.owner.device)[:, None, None]
        return (clusters == self.owner).to(like.dtype)


class ClusteredFactors(Factors):
    """Factors whose `owner`, a buffer, says which cluster each column is of; it stays.

    Arguments:
        folding: How the weight is seen as matrices.
        start: (encoder, decoder).
    """

    owner: Tensor

    def __init__(self, folding: ClusteredFolding, start: tuple[Tensor, Tensor]) -> None:
        super().__init__(folding, start)
        self.register_buffer("owner", folding.owner)

    @property
    def folding(self) -> Folding:
        """With the owners that the buffer has now: it is moved and loaded."""
        return dataclasses.replace(cast("ClusteredFolding", self._folding), owner=self.owner)

    @folding.setter
    def folding(self, value: Folding) -> None:
        self._folding = value


def factorise_clusters(
    module: nn.Module, folding: ClusteredFolding, encoder: Tensor, decoder: Tensor
) -> None:
    """Let a clustering's factors stand in the place of a layer's weight.

    Raises:
        ValueError: They do not make such a weight.
    """
    weight = cast("nn.Parameter", module.weight)
    rank, shapes = len(encoder), (tuple(encoder.shape), tuple(decoder.shape))
    fits = shapes == (folding.encoder_shape(rank), folding.decoder_shape(rank))
    if not fits or tuple(weight.shape) != folding.shape:
        raise ValueError(
            f"factors of {shapes[0]} and {shapes[1]} for {folding.slices} clusters do not make a "
            f"weight of {tuple(weight.shape)}."
        )
    trains = weight.requires_grad
    factors = ClusteredFactors(folding, (encoder, decoder))
    parametrize.register_parametrization(module, "weight", factors, unsafe=True)
    for factor in factors_of(module):
        factor.requires_grad_(trains)


def clustered_from(
    module: nn.Module, encoder: Tensor, decoder: Tensor, owner: Tensor
) -> ClusteredFolding:
    """The folding that two factors and the owners of a layer's columns were made by.

    Raises:
        ValueError: They are of another layer.
    """
    rank, shape = len(encoder), tuple(cast("Tensor", module.weight).shape)
    clusters = decoder.shape[1] // rank if rank else 1
    folding = ClusteredFolding(
        shape, int(getattr(module, "groups", 1)), slices=clusters, owner=owner
    )
    shapes = tuple(encoder.shape), tuple(decoder.shape)
    if shapes != (folding.encoder_shape(rank), folding.decoder_shape(rank)):
        raise ValueError(
            f"clustered factors of {shapes[0]} and {shapes[1]} do not make a weight of {shape}."
        )
    return folding
