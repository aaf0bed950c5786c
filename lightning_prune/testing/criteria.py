"""The contract of criteria."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_prune.criteria import ActivationCriterion, Criterion, DataCriterion, Regrowth
from lightning_prune.network.layers import Layer
from lightning_prune.network.network import Network
from lightning_prune.prune import watch
from lightning_prune.structures import Filters, Structure, Weights
from lightning_prune.testing.network import check_repr, copied, small_batches, small_network

SPLIT = 3  # samples in a batch of another size
ORDER = (3, 0, 5, 1, 4, 2)  # another one of the first layer's filters


def check_criterion(
    criterion: Criterion, structure: Structure | None = None, *, equivariant: bool = True
) -> None:
    """Check scores on a small convolutional network, watched on batches where data are needed.

    Arguments:
        criterion: The criterion.
        structure: The structure it is for; None: weights and filters, as far as it is defined.
        equivariant: Permuted neurons have permuted scores; False for scores that know the place
            of a unit, such as random ones.

    Raises:
        AssertionError: Scores are not one finite number a unit or not repeatable, neurons in
            another order or samples in other batches score differently, or the model or a random
            stream was changed.
        ValueError: The criterion is defined neither for weights nor for filters.
    """
    check_repr(criterion)
    fitting = [s for s in (Weights(), Filters()) if isinstance(s, criterion.needs)]
    structures = fitting if structure is None else [structure]
    if not structures:
        raise ValueError(f"{criterion!r} needs a {criterion.needs.__name__}: give structure=...")
    for each in structures:
        network, permuted = small_network(), small_network(ORDER)
        scores = _scores(criterion, each, network)
        for layer in network.layers:
            _check_score(criterion, each, layer, scores[layer.name])
        if equivariant:
            again = _scores(criterion, each, permuted)
            for old, new in zip(network.layers[:2], permuted.layers[:2], strict=True):
                # a unit is recognised by its smallest coordinate
                before, after = (each.units(x, x.weight).amin(1).argsort() for x in (old, new))
                assert torch.allclose(
                    scores[old.name][before], again[new.name][after], rtol=1e-4, atol=1e-6
                ), f"{criterion!r} scores neurons of {old.name!r} by their place"
        if isinstance(criterion, ActivationCriterion):
            _check_batches(criterion, each, network, scores)


def _check_batches(
    criterion: ActivationCriterion,
    structure: Structure,
    network: Network,
    scores: Mapping[str, Tensor],
) -> None:
    """The same samples in other batches."""
    batches = torch.cat(small_batches()).split(SPLIT)
    watch(network, criterion, batches, lambda x, _: network.model(x))
    for layer in network.layers:
        assert torch.allclose(
            criterion.score(layer, structure), scores[layer.name], rtol=1e-4, atol=1e-6
        ), (
            f"{criterion!r} gives {layer.name!r} other scores where the same samples come in "
            f"batches of another size: {criterion.reduction!r} does not combine what it records"
        )


def _scores(criterion: Criterion, structure: Structure, network: Network) -> dict[str, Tensor]:
    """Scores by layer, taken twice, with an eye on everything that has to be left alone."""
    model, streams = network.model, _streams()
    state, twice = copied(model), []
    if criterion.traced:
        network.graph()
    for _ in range(2):
        if isinstance(criterion, DataCriterion):
            watch(network, criterion, small_batches(), lambda x, _: model(x).square().mean())
        if isinstance(criterion, Regrowth):
            criterion.begin(0.0, {x.name: _larger_half(x, structure) for x in network.layers})
        twice.append({x.name: criterion.score(x, structure).clone() for x in network.layers})
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), f"{criterion!r} changed {name!r}"
    assert all(module.training for module in model.modules()), f"{criterion!r} changed modes"
    assert all(p.grad is None for p in model.parameters()), f"{criterion!r} left gradients"
    assert _streams() == streams, f"{criterion!r} moved a random stream"
    for name, score in twice[0].items():
        assert torch.equal(score, twice[1][name]), f"scores of {name!r} are not repeatable"
    return twice[0]


def _larger_half(layer: Layer, structure: Structure) -> Tensor:
    """(n_units,): 1 for units above the median, the active ones where a criterion regrows."""
    size = structure.units(layer, layer.weight).norm(dim=1)
    return (size > size.median()).float()


def _check_score(criterion: Criterion, structure: Structure, layer: Layer, score: Tensor) -> None:
    units = len(structure.units(layer, layer.weight))
    assert score.shape == (units,), (
        f"{criterion!r} scored the {units} units of {layer.name!r} by {tuple(score.shape)}"
    )
    assert score.isfinite().all(), f"{criterion!r} gave {layer.name!r} scores that are not finite"
    signed = criterion.signed_score(layer, structure)
    assert signed is None or torch.equal(signed.abs(), score), (
        f"{criterion!r} has signed scores for {layer.name!r} that differ in more than the sign"
    )


def _streams() -> list[Any]:
    _, keys, position, *_ = np.random.get_state(legacy=True)
    return [torch.get_rng_state().tolist(), list(keys), position, random.getstate()]
