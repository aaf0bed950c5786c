"""Samples: how many of the data a criterion has to see."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_prune.network.layers import Layer
from lightning_prune.network.network import Network

CONSTANT = 3  # of the tail assumption under which the bounds hold


@dataclass(frozen=True)
class Samples:
    r"""A number of samples, given or from a failure probability, and the seed of their order.

    The largest relative contribution of every edge over the samples is to be, up to a constant,
    its largest over all data, for all edges at once and with probability :math:`1 - \delta`:

    .. math:: |S| = \lceil 3 \ln(8 \eta^* \eta / \delta) \rceil,

    with :math:`\eta` the outputs per sample of all prunable layers (filters times positions) and
    :math:`\eta^*` those of the largest one. That is 150 to 200 for networks of any size.

    References:
        | SiPPing Neural Networks: Sensitivity-informed Provable Pruning of Neural Networks
        | (Baykal et al., 2022), https://arxiv.org/abs/1910.05422

    Arguments:
        number: So many samples; None: as many as `failure` asks for, which traces a forward.
        failure: Probability :math:`\delta` in (0, 1) that some edge is misjudged.
        seed: Of the order in which samples are drawn from a data set that can be indexed.

    Raises:
        ValueError: The number is no whole number from 1 on, or the probability is out of range.
    """

    number: int | None = None
    failure: float = 1e-16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number is not None:
            _check_whole("Samples(number=...) is", self.number)
        if not 0 < self.failure < 1:
            raise ValueError(f"Samples(failure=...) lies between 0 and 1, not {self.failure!r}.")

    def sufficient(self, outputs: Sequence[int]) -> int:
        """The number that `failure` asks for, of layers with so many outputs per sample."""
        return math.ceil(CONSTANT * math.log(8 * max(outputs) * sum(outputs) / self.failure))

    def numbered(self, network: Network) -> Samples:
        """The same with a number; the network is traced if it has none.

        Raises:
            ValueError: The network has to be traced and cannot be.
        """
        if self.number is not None:
            return self
        layers = network.graph().traced(network.layers)
        number = self.sufficient([outputs_per_sample(layer) for layer in layers])
        return dataclasses.replace(self, number=number)


Amount = int | Samples  # batches as the loader makes them, or samples


def check_amount(amount: Amount) -> None:
    """Refuse what is neither a number of batches nor `Samples`.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(amount, Samples):
        _check_whole("batches=... is Samples(...) or", amount)


def numbered(amount: Amount, network: Network) -> Amount:
    """The same, of `Samples` with a number, for which the network may have to be traced."""
    return amount.numbered(network) if isinstance(amount, Samples) else amount


def outputs_per_sample(layer: Layer) -> int:
    """Filters times positions, over all calls in one forward of a sample."""
    filters = layer.weight.shape[layer.out_dim]
    if layer.out_dim == 1:  # a transposed convolution holds one group's filters
        filters *= int(layer.module.groups)  # type: ignore[arg-type]
    return filters * max(layer.positions, 1)


def _check_whole(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} a whole number from 1 on, not {value!r}.")
