"""Errors: what is proved of them, by hand and on thousands of layers."""

import pytest
import torch

from lightning_prune.criteria.spectral import SpectralError, TailError, spectral_bound
from lightning_prune.lowrank import Folding, balanced, divisors, singular_vectors, spectra
from lightning_prune.network.layers import Layer
from lightning_prune.structures.ranks import Ranks

BOUNDS = ("max", "rss", "sqrt_k")


def layer_of(weight, groups=1):
    """A layer with that weight, linear or convolutional."""
    if weight.dim() == 2:
        module = torch.nn.Linear(*reversed(weight.shape), bias=False)
    else:
        kind = {3: torch.nn.Conv1d, 4: torch.nn.Conv2d}[weight.dim()]
        filters, channels, *kernel = weight.shape
        module = kind(channels * groups, filters, kernel, groups=groups, bias=False)
    module.weight.data = weight.clone()
    return Layer("layer", module)


def rebuilt(weight, folding, rank):
    """The weight with so many directions of every slice."""
    return folding.compose(*balanced(weight, folding, range(rank)))


def block_diagonal(weight, folding):
    """All matrices of a weight as one: slices side by side, groups on the diagonal."""
    parts = folding.matrices(weight).unflatten(0, (folding.groups, folding.slices))
    return torch.block_diag(*(torch.cat(list(group), dim=1) for group in parts))


def true_error(weight, folding, rank):
    """Relative, in the spectral norm of the folded weight, by a decomposition."""
    left = block_diagonal(weight - rebuilt(weight, folding, rank), folding)
    whole = block_diagonal(weight, folding)
    return float(torch.linalg.matrix_norm(left, 2) / torch.linalg.matrix_norm(whole, 2))


def errors(weight, slices, rank, groups=1, scheme=0):
    """By bound, at a rank below the full one."""
    layer, structure = layer_of(weight, groups), Ranks(slices, scheme)
    return {bound: float(SpectralError(bound).score(layer, structure)[rank]) for bound in BOUNDS}


def test_the_best_approximation_of_rank_1_by_hand():
    """Eckart and Young (1936): [[3, 0], [4, 5]] has the values sqrt(45) and sqrt(5)."""
    weight = torch.tensor([[3.0, 0.0], [4.0, 5.0]], dtype=torch.float64)
    folding = Folding((2, 2))
    assert spectra(weight, folding)[1].flatten().tolist() == pytest.approx([45**0.5, 5**0.5])
    wanted = torch.tensor([[1.5, 1.5], [4.5, 4.5]], dtype=torch.float64)
    torch.testing.assert_close(rebuilt(weight, folding, 1), wanted)
    layer = layer_of(weight)
    assert SpectralError().score(layer, Ranks()).tolist() == pytest.approx([1, 1 / 3])
    assert TailError().score(layer, Ranks()).tolist() == pytest.approx([1, 5 / 50])
    nuclear = TailError("nuclear").score(layer, Ranks())
    assert nuclear.tolist() == pytest.approx([1, 0.25])


def integers():
    """4 x 6, ((7 i + 3 j + i j) mod 11) - 5."""
    i, j = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    return ((7 * i + 3 * j + i * j) % 11 - 5).double()


# by hand the first three; the others by decompositions in float64
CLOSED = [
    # slices that are orthogonal: the largest is the error
    (torch.diag(torch.tensor([4.0, 3, 2, 1]).double()), 2, 1, (0.75, 0.75, 0.790569, 1.060660)),
    # a matrix beside itself: sqrt(k) times the largest is the error
    (torch.tensor([[2.0, 0, 2, 0], [0, 1, 0, 1]]).double(), 2, 1, (0.353553, 0.5, 0.5, 0.5)),
    (
        torch.diag(torch.tensor([1, 0.1, 0.1, 0.1] * 2).double()),
        2,
        1,
        (0.1, 0.1, 0.141421, 0.141421),
    ),
    (integers(), 1, 1, (0.834309,) * 4),
    (integers(), 2, 1, (0.604836, 0.625958, 0.667976, 0.855367)),
    (integers(), 3, 1, (0.569244, 0.717922, 0.754358, 0.985960)),
    (integers(), 2, 2, (0.373761, 0.373761, 0.373761, 0.528578)),
]


@pytest.mark.parametrize(("weight", "slices", "rank", "wanted"), CLOSED)
def test_bounds_and_the_error_itself_by_hand(weight, slices, rank, wanted):
    found = errors(weight, slices, rank)
    true = true_error(weight, Folding(tuple(weight.shape), slices=slices), rank)
    assert (found["max"], true, found["rss"], found["sqrt_k"]) == pytest.approx(wanted, abs=1e-6)


def test_as_many_slices_as_channels_leave_nothing_out():
    assert true_error(integers(), Folding((4, 6), slices=6), 1) == pytest.approx(0, abs=1e-12)


def test_the_largest_slice_alone_is_no_upper_bound():
    """[D D] of D = diag(2, 1): what is left out of both slices is the same direction."""
    weight = torch.tensor([[2.0, 0, 2, 0], [0, 1, 0, 1]]).double()
    found, true = errors(weight, 2, 1), true_error(weight, Folding((2, 4), slices=2), 1)
    assert found["max"] < 0.71 * true
    assert found["rss"] == pytest.approx(true)


@pytest.mark.parametrize("shape", [(4, 6, 1), (6, 4, 4), (3, 12, 1), (8, 8, 1), (5, 6, 3)])
def test_no_bound_is_violated_on_thousands_of_layers(shape):
    """2000 matrices of each size, all numbers of slices and all ranks; decay differs."""
    filters, channels, kernel = shape
    weights = torch.randn(2000, *shape, dtype=torch.float64)
    scales = torch.linspace(0, 4, channels, dtype=torch.float64).neg().exp()
    weights[1000:] *= scales[:, None]
    whole = torch.linalg.svdvals(weights.flatten(2))[:, 0]
    below = 0
    for slices in divisors(channels):
        columns = channels * kernel // slices
        parts = weights.view(2000, filters, slices, columns).transpose(1, 2)
        left, values, right = singular_vectors(parts.flatten(0, 1))
        left, right = left.unflatten(0, (2000, slices)), right.unflatten(0, (2000, slices))
        values = values.unflatten(0, (2000, slices))
        for rank in range(min(filters, columns)):
            rest = left[..., rank:] * values[..., None, rank:] @ right[..., rank:, :]
            rest = rest.transpose(1, 2).flatten(2)
            true = torch.linalg.svdvals(rest)[:, 0] / whole
            out = values[None, :, :, rank].movedim(1, -1)  # (groups, slices, layers)
            most, rss, sqrt_k = (spectral_bound(out, bound) / whole for bound in BOUNDS)
            slack = 1e-12
            assert (most <= true + slack).all()
            assert (true <= rss + slack).all()
            assert (rss <= sqrt_k + slack).all()
            below += int((most < true - 1e-6).sum())
            if slices == 1:
                torch.testing.assert_close(most, sqrt_k)
                torch.testing.assert_close(most, true, rtol=0, atol=1e-7)
    assert below > 1000, "the largest slice alone under-estimates, and often"


SCHEMES = pytest.mark.parametrize("scheme", range(4))


@SCHEMES
@pytest.mark.parametrize("groups", [1, 3])
def test_scores_are_bounds_of_a_layer_that_was_rebuilt(scheme, groups):
    weight = torch.randn(6, 4, 3, 2, dtype=torch.float64)
    for slices in (1, 2, 4):
        folding = Folding((6, 4, 3, 2), groups, scheme, slices)
        for rank in range(folding.full_rank):
            found = errors(weight, slices, rank, groups, scheme)
            true = true_error(weight, folding, rank)
            assert found["max"] - 1e-9 <= true <= found["rss"] + 1e-9
            assert found["rss"] <= found["sqrt_k"] + 1e-9


def test_of_a_grouped_layer_the_largest_group_counts():
    """Groups that are diag(4, 2) and diag(8, 6): 6 of 8 is lost, whatever the first loses."""
    weight = torch.tensor([[4.0, 0], [0, 2], [8, 0], [0, 6]], dtype=torch.float64)[..., None]
    assert errors(weight, 1, 1, groups=2) == pytest.approx(dict.fromkeys(BOUNDS, 0.75))
    assert true_error(weight, Folding((4, 2, 1), 2), 1) == pytest.approx(0.75)
    tails = TailError().score(layer_of(weight, 2), Ranks())
    assert tails.tolist() == pytest.approx([1, 40 / 120])


@SCHEMES
@pytest.mark.parametrize("groups", [1, 3])
def test_the_frobenius_error_is_exact(scheme, groups):
    weight = torch.randn(6, 4, 3, 2, dtype=torch.float64)
    for slices in (1, 2, 4):
        folding = Folding((6, 4, 3, 2), groups, scheme, slices)
        scores = TailError().score(layer_of(weight, groups), Ranks(slices, scheme))
        for rank, score in enumerate(scores):
            rest = weight - rebuilt(weight, folding, rank)
            share = float((rest.norm() / weight.norm()) ** 2)
            assert float(score) == pytest.approx(share, rel=1e-9)


def test_norms_of_foldings_differ_in_the_spectral_and_not_in_the_frobenius_norm():
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    foldings = [Folding((6, 4, 3, 3), scheme=scheme) for scheme in range(4)]
    spectrum = [spectra(weight, folding)[1].flatten() for folding in foldings]
    largest = [float(values[0]) for values in spectrum]
    assert len({round(value, 6) for value in largest}) == 4
    energies = [float(values.square().sum()) for values in spectrum]
    assert energies == pytest.approx([float(weight.square().sum())] * 4)


@pytest.mark.parametrize(
    "criterion", [*map(SpectralError, BOUNDS), *map(TailError, ("frobenius", "nuclear"))], ids=repr
)
class TestScores:
    """What holds for every criterion of low rank."""

    structures = (Ranks(), Ranks(4), Ranks(12), Ranks(2, 1), Ranks(3, 3))

    def test_they_never_increase_and_the_scale_of_a_layer_does_not_matter(self, criterion):
        weight = torch.randn(8, 12, 3, 3)
        for structure in self.structures:
            scores = criterion.score(layer_of(weight), structure)
            assert scores.dtype == torch.float64
            assert (scores[:-1] >= scores[1:]).all()
            other = criterion.score(layer_of(weight * 1e-3), structure)
            torch.testing.assert_close(other, scores, rtol=1e-5, atol=1e-7)

    def test_a_layer_of_zeros_has_no_error(self, criterion):
        scores = criterion.score(layer_of(torch.zeros(8, 12, 3, 3)), Ranks(4))
        assert scores.tolist() == [0] * 8

    def test_filters_and_channels_of_a_slice_in_another_order_change_nothing(self, criterion):
        weight = torch.randn(8, 12, 3, 3)
        inside = torch.cat([3 * i + torch.randperm(3) for i in range(4)])
        for other in (weight[torch.randperm(8)], weight[:, inside]):
            for scheme in range(4):
                torch.testing.assert_close(
                    criterion.score(layer_of(other), Ranks(4, scheme)),
                    criterion.score(layer_of(weight), Ranks(4, scheme)),
                    rtol=1e-5,
                    atol=1e-7,
                )

    def test_channels_that_change_the_slice_change_scores(self, criterion):
        weight = torch.randn(8, 12, 3, 3)
        other = weight[:, [*range(6, 9), *range(3, 6), *range(3), *range(9, 12)]]
        structure = Ranks(2)
        before = criterion.score(layer_of(weight), structure)
        assert not torch.allclose(criterion.score(layer_of(other), structure), before, rtol=1e-4)


@pytest.mark.parametrize("wrong", ["true", "", None])
def test_a_bound_or_a_norm_that_there_is_not_is_refused(wrong):
    with pytest.raises(ValueError, match="The bounds are"):
        SpectralError(wrong)
    with pytest.raises(ValueError, match="The norms are"):
        TailError(wrong)
