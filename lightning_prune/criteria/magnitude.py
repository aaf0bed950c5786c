"""Magnitude: the norm of a unit's coordinates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_prune.criteria.base import Criterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure


@dataclass(frozen=True)
class Magnitude(Criterion):
    r"""Norm of each unit: :math:`\lVert u \rVert_p`.

    Single weights give |w|, filters give the filter norm.

    References:
        | Learning both Weights and Connections for Efficient Neural Networks (Han et al., 2015)
        | https://arxiv.org/abs/1506.02626
        | Pruning Filters for Efficient ConvNets (Li et al., 2017)
        | https://arxiv.org/abs/1608.08710

    Arguments:
        p: Order of the norm, positive, `inf` allowed; 1 and 2 are the literature's.

    Raises:
        ValueError: `p` is not positive.
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        if not self.p > 0:
            raise ValueError(f"Magnitude needs a positive order of the norm, not p={self.p}.")

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): the norms."""
        units = structure.units(layer, layer.weight)
        return units[:, 0].abs() if units.shape[1] == 1 else units.norm(self.p, dim=1)

    def signed_score(self, layer: Layer, structure: Structure) -> Tensor | None:
        """The weights themselves, where units are single weights."""
        units = structure.units(layer, layer.weight)
        return units[:, 0] if units.shape[1] == 1 else None
