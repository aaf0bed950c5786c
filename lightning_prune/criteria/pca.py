"""PCA: directions of a layer's outputs by what the data have along them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.criteria.base import ActivationCriterion, Reduction
from lightning_prune.criteria.energy_per_cost import rank_cost
from lightning_prune.criteria.patches import patches_of
from lightning_prune.criteria.precision import full_precision
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure
from lightning_prune.structures.ranks import Ranks
from lightning_prune.structures.response import ResponseRanks

AT_ONCE = 2**22  # responses in float64


@dataclass(frozen=True)
class PCA(ActivationCriterion):
    r"""Principal components of responses: what the kept energy loses with a direction, by its cost.

    Responses are what a layer puts out at every position of every sample, before what follows it.
    Along the eigenvectors of their covariance the energies are :math:`\lambda_1 \ge \lambda_2
    \ge \dots`, and keeping the first j loses :math:`\sum_{a > j} \lambda_a`, the least of all
    factors of rank j. The score of direction a is

    .. math:: \frac{1}{c} \frac{\lambda_a}{\sum_{b \le a} \lambda_b}

    with c the multiply-adds of one rank in the layer: the relative loss where it is the last that
    is left. One threshold over all layers is then the paper's greedy search for the largest
    product of the layers' kept energies. Groups of a grouped layer are taken together, the a-th
    direction of each.

    A layer without a bias cannot hold a mean, so the second moment about 0 takes the place of the
    covariance, which is the optimum there. Energies that are rounding are 0; where the data say
    nothing, as of a layer with fewer samples than filters, the order is that of the energy of the
    weight, as if inputs were white.

    Nothing but sums of the responses and of their products is kept, over all positions. The paper's
    reconstruction behind a rectifier and of one layer after another are not part of it.

    References:
        | Accelerating Very Deep Convolutional Networks for Classification and Detection
          (Zhang et al., 2015)
        | https://arxiv.org/abs/1505.06798
    """

    reduction: ClassVar[Reduction] = "sum"
    needs: ClassVar[type[Structure]] = Ranks
    traced: ClassVar[bool] = True

    @torch.no_grad()
    def observe(self, layer: Layer, value: Tensor) -> None:
        """Add the products of the responses, without the bias, and their sums and number."""
        with full_precision(value.device.type):
            found = patches_of(layer, value)
            outputs = found.weight.shape[:2].numel() * math.prod(found.positions)
            for inputs in found.inputs.split(max(1, AT_ONCE // max(1, outputs))):
                responses = found.convolve(inputs, found.weight).movedim(0, 2).flatten(2).double()
                ones = responses.new_ones(len(responses), 1, responses.shape[2])
                extended = torch.cat([responses, ones], 1)
                self.record(layer, extended @ extended.mT)

    def refused(self, structure: Structure) -> str | None:
        """Slices and other schemes: directions are of whole outputs."""
        assert isinstance(structure, Ranks)
        if structure.single and structure.slices == 1 and structure.schemes in (0, (0,)):
            return None
        return (
            "PCA has directions for whole outputs, one slice and scheme 0; use Ranks() in the "
            f"place of {structure!r}."
        )

    def variants(self, group: Group, structure: Structure) -> list[Structure]:
        """The directions of the responses that were seen."""
        (layer,) = group.layers
        return [self.directions(layer)]

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) float64, not increasing; 0 where the data have nothing.

        Raises:
            ValueError: See `rank_cost`.
        """
        if not isinstance(structure, ResponseRanks):
            structure = self.directions(layer)
        folding = structure.folding(layer)
        energies = structure.energies[layer.name].sum(0)[: folding.full_rank]
        kept = energies.cumsum(0)
        shares = energies / torch.where(kept == 0, 1.0, kept)
        return shares.to(layer.weight.device) / rank_cost(layer, folding, "macs")

    def directions(self, layer: Layer) -> ResponseRanks:
        """The principal directions of a layer that was watched."""
        seen = self.seen[layer.name]
        moments, sums, count = seen[:, :-1, :-1], seen[:, :-1, -1], seen[:, -1, -1]
        means = {}
        if layer.module._parameters.get("bias") is not None:
            mean = sums / count[:, None]
            means[layer.name] = mean.cpu()
            scatter = moments - mean[:, :, None] * sums[:, None, :]
        else:
            scatter = moments
        dtype = torch.promote_types(layer.weight.dtype, torch.float32)
        epsilon = max(torch.finfo(dtype).eps ** 2, torch.finfo(torch.float64).eps)
        noise = scatter.shape[1] * epsilon * moments.diagonal(dim1=1, dim2=2).sum(1)
        matrices = Ranks().folding(layer).matrices(layer.weight).to(scatter)
        energies, bases = principal_directions(scatter, matrices, noise)
        # on the CPU: processes send it to each other
        return ResponseRanks(
            bases={layer.name: bases.cpu()}, energies={layer.name: energies.cpu()}, means=means
        )


def principal_directions(scatter: Tensor, matrices: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of scatter matrices, the largest first.

    Where eigenvalues are noise they are 0, and the directions, which are free, are turned to
    those of the matrices' energy: the first r of them span the columns of a matrix of rank r.

    Arguments:
        scatter: (groups, m, m) float64, symmetric.
        matrices: (groups, m, n) what made the responses.
        noise: (groups,) eigenvalues up to it are rounding.

    Returns:
        (groups, m) and (groups, m, m) with vectors in columns; NaN where the scatter is not finite.
    """
    if not bool(scatter.isfinite().all()):
        return torch.full_like(scatter[:, 0], torch.nan), torch.full_like(scatter, torch.nan)
    values, vectors = (found.flip(-1) for found in torch.linalg.eigh(scatter))
    values = torch.where(values > noise[:, None], values, 0.0)
    for group, first in enumerate(values.count_nonzero(1).tolist()):
        free = vectors[group, :, first:]
        images = free.mT @ matrices[group]
        if first < len(free) and bool((images != 0).any()):
            turned = torch.linalg.eigh(images @ images.mT)[1].flip(-1)
            vectors[group, :, first:] = free @ turned
    return values, vectors
