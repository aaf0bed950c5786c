"""Energy per cost: what a singular direction holds of a weight for what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lightning_prune.criteria.base import Criterion
from lightning_prune.lowrank import Folding
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Measure, Structure
from lightning_prune.structures.ranks import Ranks


def rank_cost(layer: Layer, folding: Folding, cost: Measure) -> int:
    """What one direction of every matrix of a folded layer costs.

    Raises:
        ValueError: Multiply-adds of a layer that no traced forward applied.
    """
    if cost == "params":
        return folding.params(1)
    if layer.positions == 0:
        raise ValueError(
            f"The multiply-adds of {layer.name!r} are not known: the network was not traced, or "
            "its forward does not use the layer."
        )
    return folding.macs(1, layer.positions, layer.maps)


@dataclass(frozen=True)
class EnergyPerCost(Criterion):
    r"""Energy of a direction by what it costs: :math:`\sum s_j^2 / c`, over slices and groups.

    c is the cost of one rank in the layer. With one threshold :math:`\lambda` for all layers the
    rank of a layer is :math:`r = \#\{j : s_j^2 > \lambda c\}`, which minimises
    :math:`\lambda c \, r + \sum_{j > r} s_j^2`: the compression step of L-Rank, once and in
    closed form. The paper alternates it with training towards the compressed weights.

    The budget need not be in the unit of `cost`. Energies of a layer fall with its scale, which a
    norm behind it undoes: scaled down, it loses its ranks. `relative` energies do not.

    References:
        | Low-rank Compression of Neural Nets: Learning the Rank of Each Layer
          (Idelbayev and Carreira-Perpinan, 2020)
        | https://openaccess.thecvf.com/content_CVPR_2020/html/Idelbayev_Low-Rank_Compression_of_Neural_Nets_Learning_the_Rank_of_Each_CVPR_2020_paper.html

    Arguments:
        cost: Of a rank, `macs` (takes an example to trace) or `params`.
        relative: Divide by the energy of the layer, as the authors do for residual networks.

    Raises:
        ValueError: There is no such cost.
    """

    cost: Measure = "macs"
    relative: bool = False
    needs: ClassVar[type[Structure]] = Ranks

    def __post_init__(self) -> None:
        if self.cost not in ("macs", "params"):
            raise ValueError(f"A rank costs 'macs' or 'params', not {self.cost!r}.")

    @property
    def traced(self) -> bool:  # type: ignore[override]
        """Multiply-adds are known of a traced network only."""
        return self.cost == "macs"

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) float64, not increasing; 0 for a layer of zeros.

        Raises:
            ValueError: See `rank_cost`.
        """
        assert isinstance(structure, Ranks)
        energies = structure.spectrum(layer).square().sum((0, 1))
        if self.relative:
            energies = energies / (float(energies.sum()) or 1.0)
        return energies / rank_cost(layer, structure.folding(layer), self.cost)

    def refused(self, structure: Structure) -> str | None:
        """Several foldings to choose from: the cheapest at a threshold is not the best of them."""
        assert isinstance(structure, Ranks)
        if structure.single:
            return None
        return (
            "EnergyPerCost ranks the directions of one folding and chooses among none: give one "
            f"number of slices and one scheme, not {structure!r}."
        )
