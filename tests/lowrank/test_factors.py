"""Factors: a layer that is a product of two, still works as itself, and is itself again."""

import copy

import pytest
import torch
from built import two_layers
from torch import nn

from lightning_prune.lowrank import (
    Folding,
    balanced,
    compose,
    divisors,
    factored,
    factorise,
    factors_of,
    foldable,
    folding_for,
    folding_of,
    schemes_of,
    singular_vectors,
    spectra,
)

LAYERS = {
    "linear": lambda: nn.Linear(12, 8),
    "no bias": lambda: nn.Linear(12, 8, bias=False),
    "conv1d": lambda: nn.Conv1d(12, 8, 3),
    "conv2d": lambda: nn.Conv2d(12, 8, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "reflect": lambda: nn.Conv2d(12, 8, 3, padding=1, padding_mode="reflect"),
    "pointwise": lambda: nn.Conv2d(12, 8, 1),
    "grouped": lambda: nn.Conv2d(12, 8, 3, groups=2),
    "conv3d": lambda: nn.Conv3d(6, 4, 2),
    "prime": lambda: nn.Conv2d(7, 8, 3),
    "one channel": lambda: nn.Conv2d(1, 8, 3),
    "one filter": lambda: nn.Conv2d(12, 1, 3),
}
# the others are slow tests, for their number
FEW = ("linear", "conv2d", "grouped", "prime")
CASES = [
    pytest.param(
        make,
        scheme,
        slices,
        id=f"{kind}-{scheme}-{slices}",
        marks=[] if kind in FEW and slices != 4 else [pytest.mark.slow],
    )
    for kind, make in LAYERS.items()
    for shape in [tuple(make().weight.shape)]
    for scheme in schemes_of(shape, range(4))
    for slices in divisors(shape[1])
]
ALL = pytest.mark.parametrize(("make", "scheme", "slices"), CASES)


def example(layer, dtype=torch.float32):
    if isinstance(layer, nn.Linear):
        return torch.randn(2, 5, layer.in_features, dtype=dtype)
    axes = len(layer.kernel_size)
    return torch.randn(2, layer.in_channels, *range(6, 6 + axes), dtype=dtype)


def factor(layer, scheme=0, slices=1, rank=2):
    """Put the best of a rank in the place of the weight; the folding and what was put."""
    folding = folding_for(layer, scheme, slices)
    pair = balanced(layer.weight, folding, range(rank))
    factorise(layer, folding, *pair)
    return folding, *pair


@ALL
def test_both_factors_have_the_same_norm_in_every_slice_and_in_all(make, scheme, slices):
    layer = make().double()
    folding = folding_for(layer, scheme, slices)
    for rank in {1, folding.full_rank}:
        encoder, decoder = balanced(layer.weight, folding, range(rank))
        assert encoder.shape == folding.encoder_shape(rank)
        assert decoder.shape == folding.decoder_shape(rank)
        left, right = folding.left(decoder), folding.right(encoder)
        torch.testing.assert_close(left.norm(dim=1), right.norm(dim=2))
        torch.testing.assert_close(encoder.norm(), decoder.norm())


@ALL
def test_the_full_rank_is_the_weight_and_another_decomposition_changes_nothing(
    make, scheme, slices
):
    layer = make()
    folding = folding_for(layer, scheme, slices)
    for rank in (1, folding.full_rank):
        first = folding.compose(*balanced(layer.weight, folding, range(rank)))
        again = folding.compose(*balanced(first, folding, range(rank)))
        torch.testing.assert_close(again, first, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first, layer.weight.detach(), rtol=1e-5, atol=1e-6)


@ALL
def test_the_spectrum_is_that_of_the_slices_that_are_decomposed(make, scheme, slices):
    layer = make()
    folding = folding_for(layer, scheme, slices)
    values = singular_vectors(folding.matrices(layer.weight.detach()))[1]
    known = spectra(layer.weight.detach(), folding, divisors(folding.shape[1]))[slices]
    largest = float(values.max())
    torch.testing.assert_close(known.flatten(0, 1), values, rtol=0, atol=1e-6 * largest)
    rest = layer.weight - folding.compose(*balanced(layer.weight, folding, range(1)))
    left = torch.linalg.svdvals(folding.matrices(rest.detach().double()))[:, 0]
    second = known.flatten(0, 1)[:, 1] if folding.full_rank > 1 else torch.zeros(1).double()
    torch.testing.assert_close(left, second.expand_as(left), rtol=0, atol=1e-5 * largest)


@ALL
def test_a_factored_layer_computes_what_a_plain_one_with_its_weight_does(make, scheme, slices):
    layer = make().double()
    plain, x = copy.deepcopy(layer), example(layer, torch.float64)
    folding, encoder, decoder = factor(layer, scheme, slices, rank=1)
    assert folding_of(layer) == folding
    assert layer.weight.shape == plain.weight.shape
    with torch.no_grad():
        plain.weight.copy_(folding.compose(encoder, decoder))
    torch.testing.assert_close(layer(x), plain(x))
    if getattr(layer, "padding_mode", "zeros") == "zeros":
        linear = isinstance(layer, nn.Linear)
        got = two_layers(plain, folding, encoder, decoder)(x.transpose(1, 2) if linear else x)
        torch.testing.assert_close(got.transpose(1, 2) if linear else got, layer(x))


def test_gradients_of_the_factors_are_those_of_the_weight_by_the_chain_rule():
    layer = nn.Linear(12, 8).double()
    _, encoder, decoder = factor(layer, slices=1)
    weight = layer.weight
    weight.retain_grad()
    nn.functional.linear(example(layer, torch.float64), weight).square().sum().backward()
    torch.testing.assert_close(factors_of(layer)[0].grad, decoder.T @ weight.grad)
    torch.testing.assert_close(factors_of(layer)[1].grad, weight.grad @ encoder.T)


def test_parameters_of_a_factored_layer_and_their_names():
    layer = nn.Conv2d(12, 8, 3)
    folding, encoder, decoder = factor(layer, slices=3)
    start = "parametrizations.weight.original"
    names = {"bias": layer.bias, f"{start}0": encoder, f"{start}1": decoder}
    assert dict(layer.named_parameters()).keys() == layer.state_dict().keys() == names.keys()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, names[name])
    assert sum(p.numel() for p in layer.parameters()) == folding.params(2) + 8
    assert "scheme=0, slices=3" in repr(layer)
    assert isinstance(layer, nn.Conv2d)


@pytest.mark.parametrize("trains", [True, False])
def test_a_plain_weight_again_is_the_product_and_stands_first(trains):
    layer = nn.Conv2d(12, 8, 3)
    names = list(dict(layer.named_parameters()))
    layer.weight.requires_grad_(trains)
    folding, encoder, decoder = factor(layer, 2, 3)
    assert all(f.requires_grad == trains for f in factors_of(layer))
    compose(layer)
    assert folding_of(layer) is None
    assert type(layer) is nn.Conv2d
    assert list(dict(layer.named_parameters())) == names == ["weight", "bias"]
    assert layer.weight.requires_grad == trains
    assert layer.weight.is_leaf
    torch.testing.assert_close(layer.weight.detach(), folding.compose(encoder, decoder))
    weight = layer.weight
    compose(layer)
    assert layer.weight is weight, "plain layers stay as they are"


def test_a_copy_has_factors_of_its_own():
    layer = nn.Conv2d(12, 8, 3)
    factor(layer, slices=3)
    other = copy.deepcopy(layer)
    assert folding_of(other) == folding_of(layer)
    with torch.no_grad():
        factors_of(other)[0].zero_()
    assert float(other.weight.detach().abs().max()) == 0 < float(layer.weight.detach().abs().max())
    compose(other)
    assert folding_of(layer) is not None
    assert type(layer) is not type(other) is nn.Conv2d


def test_a_weight_that_is_assigned_becomes_the_best_of_the_same_rank():
    layer, other = nn.Linear(12, 8), torch.randn(8, 12)
    folding, *_ = factor(layer, slices=3)
    layer.weight = other
    wanted = folding.compose(*balanced(other, folding, range(2)))
    torch.testing.assert_close(layer.weight.detach(), wanted)
    assert [f.shape for f in factors_of(layer)] == [
        folding.encoder_shape(2),
        folding.decoder_shape(2),
    ]


def test_gains_scale_directions_and_places_choose_them():
    weight = torch.diag(torch.tensor([4.0, 3, 2, 1]))
    folding = Folding((4, 4))
    pair = balanced(weight, folding, [3, 1], torch.tensor([-2.0, 0.5]))
    torch.testing.assert_close(folding.compose(*pair), torch.diag(torch.tensor([0, 1.5, 0, -2])))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_factors_have_the_dtype_of_the_weight_and_are_found_in_float64(dtype):
    layer = nn.Linear(12, 8).to(dtype)
    folding, encoder, decoder = factor(layer, rank=3)
    assert encoder.dtype == decoder.dtype == layer.weight.dtype == dtype
    exact = balanced(layer.weight.detach().double(), folding, range(3))[0]
    assert exact.norm() == pytest.approx(float(encoder.double().norm()), rel=1e-2)


def test_a_layer_of_zeros_and_a_rank_of_none_are_zeros_that_train_on():
    for weight, rank in ((torch.zeros(8, 12), 2), (torch.randn(8, 12), 0)):
        layer = nn.Linear(12, 8)
        layer.weight.data = weight
        factor(layer, slices=3, rank=rank)
        assert layer.weight.shape == (8, 12)
        assert not layer.weight.detach().count_nonzero()
        layer(example(layer)).sum().backward()
        compose(layer)
        assert not layer.weight.detach().count_nonzero()


def test_the_number_of_slices_is_the_nearest_that_the_layer_allows():
    assert folding_for(nn.Conv2d(12, 8, 3), 1, 5) == Folding((8, 12, 3, 3), 1, 1, 6)
    assert folding_for(nn.Conv2d(12, 8, 3, groups=2), 0, 5) == Folding((8, 6, 3, 3), 2, 0, 6)
    layer = nn.Linear(12, 8)
    factor(layer, slices=3)
    assert folding_for(layer) == Folding((8, 12)), "of a factored layer that of its dense weight"


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (nn.ConvTranspose2d(4, 4, 3), "transposed"),
        (nn.Conv2d(4, 4, 3, groups=4), "depthwise"),
        (nn.Conv2d(4, 8, 3, groups=4), "depthwise"),
        (nn.Conv2d(8, 4, 3, groups=4), "depthwise"),
        (nn.MultiheadAttention(4, 2).out_proj, "MultiheadAttention"),
        (nn.Embedding(4, 4), "Embedding has no scheme"),
        (nn.BatchNorm1d(4), "BatchNorm1d has no scheme"),
    ],
)
def test_layers_that_cannot_be_factored_say_why(module, why):
    assert why in foldable(module)


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_that_can_be_factored(kind):
    assert foldable(LAYERS[kind]()) is None


def test_the_factored_layers_of_a_model_are_found_once():
    shared = nn.Linear(8, 8)
    model = nn.Sequential(nn.Linear(8, 8), shared, nn.ReLU(), shared)
    assert not list(factored(model))
    factor(shared)
    assert [(name, module) for name, module in factored(model)] == [("1", shared)]
