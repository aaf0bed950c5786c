"""Theory: the bounds that sensitivities put on the relative errors of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvTransposeNd

from lightning_prune.allocations import Candidate, Sampled, Selection
from lightning_prune.criteria import SiPP
from lightning_prune.methods import Method
from lightning_prune.network.layers import Layer
from lightning_prune.network.samples import CONSTANT
from lightning_prune.structures import Channels, Mask, Weights


class Predicted(NamedTuple):
    """The bounds of one layer.

    Arguments:
        weight: The weight with the gains of its units, in its shape; rows that leave are there.
        seen: (filters, 2), by sign of the weight: the bound for the inputs that were seen, the
            sum of the sensitivities of what leaves; NaN where units were drawn.
        bound: (filters, 2), for inputs that were not; NaN where a row has no sum, or leaves.
    """

    weight: Tensor
    seen: Tensor
    bound: Tensor


def has_theory(method: Method) -> bool:
    """Whether the errors of what a method selects are bounded."""
    return isinstance(method.criterion, SiPP) and isinstance(method.structure, Weights | Channels)


def predict(
    method: Method,
    layers: Sequence[Layer],
    selection: Selection,
    candidates: Sequence[Candidate],
) -> dict[str, Predicted]:
    r"""Bounds on the relative errors of the rows of every layer, before anything is written.

    Leaving out a set D of entries of a row and sign changes its sum for an input that was seen by
    the share :math:`\sum_{j \in D} s_j` at most, and for any other input by C = 3 times that, but
    with the failure probability that the number of samples was chosen for. Where units were
    drawn, it is Bernstein's bound of the allocation.

    Arguments:
        method: One that has a theory; its criterion has seen the data.
        layers: Of the network.
        selection: Of the method.
        candidates: Of which the selection was made.

    Returns:
        By name of the layer; layers of which nothing can leave are not in it.
    """
    assert isinstance(method.criterion, SiPP)
    found: dict[str, Predicted] = {}
    drawn = _drawn(method, selection, candidates)
    for layer in layers:
        factor, rows = _factors(layer, selection)
        if factor is None:
            continue
        sensitivity, weight = method.criterion.seen[layer.name], layer.weight
        lost = sensitivity * (factor == 0)
        sums = [_row_sums(layer, lost * of_sign, method.criterion) for of_sign in _signs(weight)]
        total = [_row_sums(layer, sensitivity * s, method.criterion) for s in _signs(weight)]
        seen, alive = torch.stack(sums, 1), torch.stack(total, 1) > 0
        alive &= rows[:, None]
        bernstein = drawn.get(layer.name)
        bound = CONSTANT * seen
        if bernstein is not None:
            random = ~bernstein.isnan().to(seen.device)
            bound = torch.where(random, bernstein.to(seen), bound)
            seen = seen.masked_fill(random, torch.nan)
        found[layer.name] = Predicted(
            weight * factor,
            seen.masked_fill(~alive, torch.nan),
            bound.masked_fill(~alive, torch.nan),
        )
    return found


def _factors(layer: Layer, selection: Selection) -> tuple[Tensor | None, Tensor]:
    """The gains of a layer's own units in its weight's shape, and (filters,) which rows stay."""
    weight = layer.weight
    filters = _by_filter(layer, weight).shape[0]
    factor, rows = None, torch.ones(filters, dtype=torch.bool, device=weight.device)
    for group, (structure, gain) in selection.gains.items():
        if not isinstance(structure, Mask) or not any(
            p.module is layer.module for p in group.slices
        ):
            continue
        member = any(other.name == layer.name for other in group.layers)
        for tensor, along in structure.factors(group, gain):
            if tensor is not layer.parameter:
                continue
            by_row = along.dim() == weight.dim() and along.shape[layer.in_dim] == 1 < along.numel()
            if by_row and isinstance(structure, Channels):
                gone = _by_filter(layer, (along == 0).expand_as(weight)).all(1)
                rows &= ~gone
            elif member:
                factor = along.to(weight) if factor is None else factor * along
    return (None if factor is None else factor.expand_as(weight)), rows


def _drawn(
    method: Method, selection: Selection, candidates: Sequence[Candidate]
) -> dict[str, Tensor]:
    """By layer, what broadcasts to (filters, 2): the bound where units were drawn, else NaN."""
    allocation, found = method.allocation, dict[str, Tensor]()
    if not isinstance(allocation, Sampled) or allocation.select == "top":
        return found
    gains = {group.name: gain for group, (_, gain) in selection.gains.items()}
    for candidate in candidates:
        kept = (gains[candidate.group.name] != 0).float()
        bound = allocation.drawn_bound(candidate, kept)
        for layer in candidate.group.layers:
            own = bound.view(-1, 2) if allocation.by_sign else bound.view(1, 1)
            before = found.get(layer.name)
            found[layer.name] = own if before is None else torch.fmax(before, own)
    return found


def _signs(weight: Tensor) -> tuple[Tensor, Tensor]:
    return weight > 0, weight < 0


def _row_sums(layer: Layer, values: Tensor, criterion: SiPP) -> Tensor:
    """(filters,): sums over the entries of a row, or over its kernels, which have one share."""
    rows = _by_filter(layer, values)
    if criterion.kernel == "sum" and values.dim() > 2:
        kernel = values.shape[2:].numel()
        return rows.unflatten(1, (-1, kernel)).amax(-1).sum(1)
    return rows.sum(1)


def _by_filter(layer: Layer, values: Tensor) -> Tensor:
    """(filters, entries of one) of a tensor in the weight's shape."""
    if not isinstance(layer.module, _ConvTransposeNd):
        return values.flatten(1)
    apart = values.unflatten(0, (layer.module.groups, -1)).transpose(1, 2)
    return apart.flatten(0, 1).flatten(1)
