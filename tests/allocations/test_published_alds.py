"""ALDS beside the published algorithm: at its own size the largest error is never larger."""

import numpy as np
import pytest
import torch
from published_alds import InfeasibleError, PublishedALDS, PublishedLayer, power_law
from ranked import alds, chosen, error_of
from torch import nn

# a ResNet-20 with shortcuts of 1 x 1 convolutions: 22 layers of 270,896 weights
STAGES = [(16, 16)] * 6 + [(32, 16)] + [(32, 32)] * 5 + [(64, 32)] + [(64, 64)] * 5
SHAPES = [(16, 3, 3, 3), *((f, c, 3, 3) for f, c in STAGES)]
RESNET20 = [*SHAPES, (32, 16, 1, 1), (64, 32, 1, 1), (10, 64)]
SMALL = [(16, 3, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (10, 32)]


def network(shapes, exponent=0.6, seed=0):
    """Layers whose values fall as powers of their places."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for shape in shapes:
        filters, channels, *kernel = shape
        linear = nn.Linear(channels, filters, bias=False)
        layer = nn.Conv2d(channels, filters, kernel, bias=False) if kernel else linear
        layer.weight.data = power_law(shape, generator, exponent)
        layers.append(layer)
    return nn.Sequential(*layers)


def beside(shapes, keep, seeds, **options):
    """(ours, published, ours at its budget), the largest errors by one decomposition of both."""
    model = network(shapes, **options)
    layers = [PublishedLayer(layer.weight.detach()) for layer in model]
    published = PublishedALDS(layers, seeds=seeds, generator=np.random.default_rng(0))
    theirs = published(keep)
    errors = [
        error_of(layer.weight, k, None if one.lost(k, j) == 0 else j, "max")
        for layer, one, k, j in zip(model, layers, theirs.counts, theirs.ranks, strict=True)
    ]
    found = []
    for budget in (theirs.size, published.budget(keep)):
        selection, choice = chosen(model, alds("max"), budget)
        assert selection.cost <= budget
        found.append(max(error_of(model[int(n)].weight, *c, "max") for n, c in choice.items()))
    assert max(errors) == pytest.approx(theirs.error, rel=1e-4)
    assert abs(theirs.size - published.budget(keep)) <= 0.05 * published.budget(keep)
    return found[0], max(errors), found[1]


@pytest.mark.parametrize("exponent", [0.3, 1.0])
@pytest.mark.parametrize("keep", [0.5, 0.25])
def test_a_small_network_loses_no_more_than_by_the_published_algorithm(keep, exponent):
    ours, published, _ = beside(SMALL, keep, 6, exponent=exponent)
    assert ours <= published * (1 + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0.5, 0.25, 0.1])
def test_a_resnet20_loses_no_more_than_by_the_published_algorithm(keep):
    ours, published, _ = beside(RESNET20, keep, 15)
    assert ours <= published * (1 + 1e-6)


def test_the_published_algorithm_starts_at_divisors_and_refuses_what_it_cannot_reach():
    (layer,) = [PublishedLayer(torch.randn(8, 64, 3, 3))]
    assert [layer.nearest(k) for k in (3, 5, 7, 9)] == [4, 4, 8, 8]
    assert layer.counts == [64, 32, 16, 8, 4, 2, 1]
    with pytest.raises(InfeasibleError, match="parameters, not"):
        PublishedALDS([layer], seeds=1)(0.05)


def test_the_published_algorithm_by_hand():
    """Half of 8 x 8 that halves and 8 x 8 that falls by 0.1: slices lie on the diagonal.

    The largest value that a slice loses is the second of its diagonal, or 0 for slices of one.
    """
    halving = torch.diag(torch.tensor([2.0**-i for i in range(8)]))
    layer = PublishedLayer(halving)
    assert layer.errors(1) == pytest.approx([2.0**-i for i in range(8)])
    assert layer.errors(2) == pytest.approx([1, 0.5, 0.25, 0.125])
    assert layer.errors(8) == pytest.approx([1])
    assert (layer.per_rank(1), layer.per_rank(2), layer.size(2, 3)) == (16, 24, 64)
    assert (layer.rank(1, 0.3), layer.rank(1, 2.0), layer.rank(1, 0.0)) == (2, 1, 8)
    assert (layer.lost(1, 2), layer.lost(1, 4), layer.lost(2, 1)) == (0.25, 0, 0.5)
