"""Spectra: singular values from shared Gram matrices are those of every slice by itself."""

import pytest
import torch
from torch import nn

from lightning_prune.lowrank import (
    Folding,
    divisors,
    remembered,
    schemes_of,
    singular_vectors,
    spectra,
)

SHAPES = {
    "wide": ((6, 12, 3, 3), 1),
    "tall": ((40, 12, 3, 1), 1),
    "square": ((12, 12), 1),
    "no chain": ((16, 30, 3), 1),
    "grouped": ((12, 6, 3, 2), 3),
    "prime": ((9, 7, 2, 2), 1),
    "one filter": ((1, 12, 3, 3), 1),
    "one channel": ((8, 1, 3, 3), 1),
    "one column": ((8, 1), 1),
    "solid": ((4, 6, 2, 2, 2), 1),
}


def alone(weight, folding):
    """(groups, slices, full rank): a singular value decomposition of every matrix."""
    values = torch.linalg.svdvals(folding.matrices(weight.double()))
    return values.view(folding.groups, folding.slices, -1)


def compare(weight, groups=1, within=1e-6):
    shape = tuple(weight.shape)
    for scheme in schemes_of(shape, range(4)):
        whole = Folding(shape, groups, scheme)
        largest = float(alone(weight, whole).max())
        found = spectra(weight, whole, divisors(shape[1]))
        assert sorted(found) == list(divisors(shape[1]))
        for slices, values in found.items():
            folding = Folding(shape, groups, scheme, slices)
            wanted = alone(weight, folding)
            assert values.dtype == torch.float64
            assert values.shape == wanted.shape == (groups, slices, folding.full_rank)
            assert (values - wanted).abs().max() <= within * largest
            assert (values[..., :-1] >= values[..., 1:]).all()


@pytest.mark.parametrize("kind", SHAPES)
def test_every_slice_has_the_values_of_its_own_decomposition(kind):
    shape, groups = SHAPES[kind]
    compare(torch.randn(shape), groups)


@pytest.mark.parametrize("kind", SHAPES)
def test_one_number_of_slices_alone_has_the_same_values(kind):
    shape, groups = SHAPES[kind]
    weight = torch.randn(shape)
    together = spectra(weight, Folding(shape, groups), divisors(shape[1]))
    for slices in divisors(shape[1]):
        folding = Folding(shape, groups, 0, slices)
        ((count, values),) = spectra(weight, folding).items()
        assert count == slices
        torch.testing.assert_close(values, together[slices], rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("shape", [(12, 12, 3, 3), (40, 30), (6, 30, 3)])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_weights_of_low_rank(shape, rank):
    left, right = torch.randn(shape[0], rank), torch.randn(rank, *shape[1:])
    weight = (left @ right.flatten(1)).view(shape).double()
    weight[:, shape[1] // 2 :] = 0
    compare(weight)
    values = spectra(weight, Folding(shape))[1][0, 0]
    assert int((values > 1e-6 * (values[0] or 1)).sum()) == rank


def test_values_are_more_accurate_than_those_of_a_float32_decomposition():
    """Of 256 x 2304 that decay to 1e-4: both against a decomposition in float64."""
    left, _ = torch.linalg.qr(torch.randn(128, 128, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(1152, 128, dtype=torch.float64))
    decay = torch.logspace(0, -4, 128, dtype=torch.float64)
    weight = (left * decay @ right.T).float()
    exact = torch.linalg.svdvals(weight.double())
    (ours,) = spectra(weight, Folding((128, 1152)))[1][0]
    theirs = torch.linalg.svdvals(weight).double()
    assert ((ours - exact) / exact).abs().max() < 1e-7
    assert ((ours - exact) / exact).abs().max() < ((theirs - exact) / exact).abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_of_other_dtypes_the_values_are_those_of_the_same_numbers_in_float64(dtype):
    weight = torch.randn(8, 12, 3, 3).to(dtype)
    found = spectra(weight, Folding(weight.shape), [1, 4])
    for slices, values in found.items():
        wanted = spectra(weight.double(), Folding(weight.shape), [slices])[slices]
        torch.testing.assert_close(values, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_refused(wrong):
    weight = torch.randn(4, 6)
    weight[1, 2] = wrong
    with pytest.raises(ValueError, match="NaN or infinity"):
        spectra(weight, Folding((4, 6)))


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the matrices whose eigenvalues were worked out."""
    shapes, plain = [], torch.linalg.eigvalsh

    def counted(matrices):
        shapes.append(tuple(matrices.shape))
        return plain(matrices)

    monkeypatch.setattr(torch.linalg, "eigvalsh", counted)
    return shapes


def test_what_is_remembered_is_worked_out_once(calls):
    weight, folding = torch.randn(6, 12), Folding((6, 12))
    with remembered():
        first = spectra(weight, folding, [1, 3])
        assert len(calls) == 2
        assert spectra(weight, folding, [3])[3] is first[3]
        with remembered():  # one memory for both
            spectra(weight, Folding((6, 12), slices=3))
        assert len(calls) == 2
        spectra(weight, folding, [1, 2, 3])
        assert len(calls) == 3
    spectra(weight, folding, [1, 3])
    assert len(calls) == 5, "nothing is remembered outside"


def test_a_changed_weight_has_its_own_values():
    weight, folding = nn.Parameter(torch.randn(6, 12)), Folding((6, 12))
    with remembered():
        before = spectra(weight, folding)[1]
        with torch.no_grad():
            weight.mul_(2)
        torch.testing.assert_close(spectra(weight, folding)[1], 2 * before)
        torch.testing.assert_close(spectra(weight.detach(), folding)[1], 2 * before)


def test_weights_that_take_the_memory_of_earlier_ones_have_their_own_values(calls):
    folding = Folding((6, 12))
    with remembered():
        for _ in range(20):
            weight = torch.randn(6, 12)
            compared = spectra(weight, folding)[1][0]
            torch.testing.assert_close(compared, torch.linalg.svdvals(weight.double())[None])
            del weight
    assert len(calls) == 20


def test_two_views_of_one_memory_have_their_own_values():
    weight, folding = torch.randn(6, 6), Folding((6, 6))
    with remembered():
        for view in (weight, weight.T):
            values = spectra(view, folding, [3])[3]
            torch.testing.assert_close(values, alone(view, Folding((6, 6), slices=3)))


def test_weights_made_in_inference_mode_can_be_remembered():
    with torch.inference_mode(), remembered():
        weight = torch.randn(6, 12)
        first = spectra(weight, Folding((6, 12)))[1]
        weight.mul_(2)  # leaves no trace
        torch.testing.assert_close(spectra(weight, Folding((6, 12)))[1], 2 * first)


@pytest.mark.parametrize("size", [(5, 8), (8, 5), (1, 7), (7, 1), (6, 6)], ids=str)
@pytest.mark.parametrize("rank", [0, 1, None])
def test_vectors_are_a_thin_decomposition(size, rank):
    matrices = torch.randn(3, *size)
    if rank is not None:
        matrices = torch.randn(3, size[0], rank) @ torch.randn(3, rank, size[1])
    left, values, right = singular_vectors(matrices)
    full = min(size)
    assert left.shape == (3, size[0], full)
    assert right.shape == (3, full, size[1])
    torch.testing.assert_close(left * values[:, None] @ right, matrices.double(), atol=1e-9, rtol=0)
    wanted = torch.linalg.svdvals(matrices.double())
    torch.testing.assert_close(values, wanted, atol=1e-6, rtol=0)
    there = values > 1e-6 * values[:, :1].clamp_min(1e-300)
    for vectors in (left.mT, right):
        products = vectors @ vectors.mT
        eye = torch.eye(full, dtype=torch.float64) * there[:, None]
        inside = there[:, None] & there[:, :, None]
        assert (products - eye)[inside].abs().max() < 1e-9 if inside.any() else True
