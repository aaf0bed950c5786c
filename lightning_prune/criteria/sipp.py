"""SiPP: pruning by sensitivity, the share of a weight in what its neuron sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, get_args

from torch import Tensor

from lightning_prune.criteria.base import ActivationCriterion, Reduction
from lightning_prune.criteria.sensitivity import Kernel, Over, sensitivity
from lightning_prune.criteria.ties import ties_broken
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Mask, Structure


@dataclass(frozen=True)
class SiPP(ActivationCriterion):
    r"""Sensitivity of each unit: its largest share in the sums of the neurons that it feeds.

    See `sensitivity` for the formula. Leaving out a set D of weights of one row and sign changes
    the row's sum for a sample by a relative amount of at most :math:`\sum_{j \in D} s_j`: at
    every patch with the maximum over patches, in the mean over patches with the mean. So the
    smallest sensitivities of the whole network leave first, unscaled: this minimises the sum of
    these bounds.

    Sensitivities do not change when a filter is rescaled, or a channel against the weights that
    read it, as rectifiers and norms allow without changing the network; magnitudes do. A row of n
    weights that is active has one of at least 1/n, so small rows are protected. Labels are not
    used. The bias is never in a sum.

    A unit of several weights scores the largest among them: channels as in provable filter
    pruning, where what reads a channel says how much it matters. Filters are rows of their own,
    normalised to themselves; prefer channels.

    Scores are float64 and round in float32 to the sensitivities. Beyond that, equal ones order by
    magnitude: where no data reach, the largest weights stay.

    Over mini-batches, calls of a layer and processes the maximum is taken. Another order or size
    of batches gives the same to the roundoff of the network's own activations.

    Not to be confused with the first-order sensitivities of a loss, which need labels.

    References:
        | SiPPing Neural Networks: Sensitivity-informed Provable Pruning of Neural Networks
          (Baykal et al., 2019)
        | https://arxiv.org/abs/1910.05422
        | Provable Filter Pruning for Efficient Neural Networks (Liebenwein et al., 2020)
        | https://arxiv.org/abs/1911.07412

    Arguments:
        patches: Over the patches of an image `mean`, or `max`: a bound at every position, but
            with rectified inputs many shares are exactly 1, and it costs more. One and the same
            for linear layers, where every vector is a sample, tokens too.
        kernel: Over the kernel positions of a channel `max`, or `sum`: the share of the whole
            kernel, which is what the removal of a channel changes. Weights then all have the
            score of their kernel.
        memory: Bytes that unfolded patches and products may take; below one channel at one row
            of positions, that.

    Raises:
        ValueError: A reduction is none of these, or the memory is not positive.
    """

    patches: Over = "mean"
    kernel: Kernel = "max"
    # changes no score, so it is no part of what a checkpoint recognises
    memory: int = field(default=1 << 26, repr=False, compare=False)
    reduction: ClassVar[Reduction] = "max"
    needs: ClassVar[type[Structure]] = Mask  # type: ignore[type-abstract]

    def __post_init__(self) -> None:
        for name, options in (("patches", Over), ("kernel", Kernel)):
            if getattr(self, name) not in get_args(options):
                known = " or ".join(map(repr, get_args(options)))
                raise ValueError(f"SiPP has {name}={known}, not {getattr(self, name)!r}.")
        if not self.memory > 0:
            raise ValueError(f"SiPP needs a positive number of bytes, not memory={self.memory!r}.")

    def observe(self, layer: Layer, value: Tensor) -> None:
        """Record the sensitivities of the layer's weights, in the weight's shape."""
        found = sensitivity(layer, value, self.patches, self.kernel, self.memory)
        self.record(layer, found)

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,) float64: the sensitivities, equal ones ordered by magnitude."""
        seen = structure.units(layer, self.seen[layer.name])
        units = structure.units(layer, layer.weight)
        magnitude = units[:, 0].abs() if units.shape[1] == 1 else units.norm(dim=1)
        return ties_broken(seen.amax(1), magnitude)
