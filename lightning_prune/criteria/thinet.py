"""ThiNet: channels by what the next layer loses without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.criteria.base import ActivationCriterion, Reduction
from lightning_prune.criteria.contributions import contribution_gram
from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure
from lightning_prune.structures.channels import Channels


@dataclass(frozen=True)
class ThiNet(ActivationCriterion):
    r"""Input channels in the order in which their layers miss them least.

    With :math:`x_{t,c}` what channel c adds to the output t of a reader, the channels that leave
    are chosen one by one, each so that the lost sum :math:`\sum_t (\sum_{c} x_{t,c})^2` over all
    that left is least. A channel's score is its place in that order, as a share of the channels:
    the first to leave has the smallest. Every budget cuts the same order. It is greedy and not
    the best set.

    The kept channels are then rescaled by least squares, so that their sum comes closest to that
    of all: the columns of all readers are multiplied by

    .. math:: \arg\min_w \sum_t \left(\sum_c x_{t,c} - \sum_{c \text{ kept}} w_c x_{t,c}\right)^2
              + \lambda \lVert w - 1 \rVert^2

    where :math:`\lambda` is `ridge` times the mean square of a kept channel's contributions.

    All sums run over every output of the data, by the inner products of the contributions; see
    `contribution_gram`, also for the cost. Several readers of a channel, and several columns of
    one, are taken together. The order takes C^2 operations for C channels, the weights C^3.

    Layers are looked at in the network as it is before the event. The paper prunes them one after
    another with training in between: a schedule of small steps is closer to it than one event.
    Scores say nothing between layers, so the allocation is `Uniform`.

    References:
        | ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression
          (Luo et al., 2017)
        | https://arxiv.org/abs/1707.06342

    Arguments:
        rescale: Fit the kept channels; without it they stay as they are.
        ridge: Pulls the factors towards 1; not negative.

    Raises:
        ValueError: `ridge` is negative.
    """

    rescale: bool = True
    ridge: float = 1e-6
    reduction: ClassVar[Reduction] = "sum"
    needs: ClassVar[type[Structure]] = Channels

    def __post_init__(self) -> None:
        if not self.ridge >= 0:
            raise ValueError(f"ThiNet needs a ridge of 0 or more, not {self.ridge!r}.")

    def observe(self, layer: Layer, value: Tensor) -> None:
        """Add the inner products of the channels' contributions."""
        self.record(layer, contribution_gram(layer, value))

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(channels,): the places of a layer's inputs for itself alone."""
        return removal_places(self.seen[layer.name]).to(layer.weight.device)

    def group_score(self, group: Group, structure: Structure) -> Tensor:
        """(n_units,): the places of the units for all of their readers.

        Raises:
            ValueError: The group's layers do not read its units.
        """
        return removal_places(self._gram(group)).to(group.layers[0].weight.device)

    def rescaled(self, group: Group, structure: Structure, gain: Tensor) -> Tensor:
        """(n_units,): the kept units' factors; everything as it is where all stay."""
        kept = gain != 0
        if not self.rescale or bool(kept.all()) or not bool(kept.any()):
            return gain
        factors = least_squares(self._gram(group), kept.cpu(), self.ridge)
        return torch.where(kept.cpu(), factors, 0.0).to(gain)

    def _gram(self, group: Group) -> Tensor:
        """(n_units, n_units) on the CPU: summed over the readers, and over a unit's columns."""
        total = torch.zeros(group.size + 1, group.size + 1, dtype=torch.float64)
        for layer in group.layers:
            gram, units = self.seen[layer.name].cpu(), _columns(group, layer).cpu()
            units = torch.where(units < 0, group.size, units)
            rows = gram.new_zeros(group.size + 1, len(gram)).index_add_(0, units, gram)
            total.index_add_(1, units, rows)
        return total[:-1, :-1]


def removal_places(gram: Tensor) -> Tensor:
    """(channels,) float64 on the CPU in (0, 1]: 1 / C for the first that leaves, 1 for the last.

    Arguments:
        gram: (C, C) inner products of the channels' contributions; of equal ones the later
            leaves first.
    """
    gram, count = gram.cpu(), len(gram)
    cost, places = gram.diagonal().clone(), gram.new_empty(count)
    for place in range(1, count + 1):
        channel = count - 1 - int(cost.flip(0).argmin())
        places[channel] = place / count
        cost += 2 * gram[channel]
        cost[channel] = torch.inf
    return places


def least_squares(gram: Tensor, kept: Tensor, ridge: float) -> Tensor:
    """(channels,) float64: factors of the kept channels, never 0; 1 elsewhere.

    Arguments:
        gram: (C, C) inner products of the channels' contributions.
        kept: (C,) bool.
        ridge: In units of the mean of the kept channels' squares.
    """
    own, lost = gram[kept][:, kept], gram[kept][:, ~kept].sum(1)
    # w - 1 is sought: where nothing is known of a channel it stays as it is
    eye = torch.eye(len(own), dtype=own.dtype)
    ridged = own + ridge * own.diagonal().mean() * eye
    found = 1 + torch.linalg.lstsq(ridged, lost[:, None]).solution[:, 0]
    # a kept unit is told from one that is gone by its gain
    found = torch.where(found == 0, torch.finfo(torch.float32).tiny, found)
    return torch.ones(len(gram), dtype=gram.dtype).masked_scatter_(kept, found)


def _columns(group: Group, layer: Layer) -> Tensor:
    """(channels,) the unit of every input channel of a reader, -1 where it is of another group."""
    for part in group.slices:
        same = part.module is layer.module and part.tensor == layer.tensor
        if same and part.dim == layer.in_dim and part.units is not None:
            return part.units
    raise ValueError(
        f"ThiNet scores input channels, and {layer.name!r} does not read the units of "
        f"{group.name!r}; use the structure Channels."
    )
