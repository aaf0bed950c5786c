"""Sensitivities of layers of every kind: the definition itself, and unfolded patches."""

import warnings

import pytest
import torch
from layer_kinds import KINDS, by_definition, by_unfolding, drawn
from torch import nn

from lightning_prune.criteria import SiPP
from lightning_prune.criteria.precision import full_precision
from lightning_prune.criteria.sensitivity import sensitivity
from lightning_prune.network.layers import Layer

ENOUGH = 1 << 26
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


@pytest.mark.parametrize("kernel", ["max", "sum"])
@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_has_the_shares_of_the_definition(kind, patches, kernel):
    layer, value = drawn(kind)
    wanted = by_definition(layer, value, patches, kernel)
    found = sensitivity(layer, value, patches, kernel, ENOUGH)
    assert found.shape == layer.weight.shape
    assert found.dtype == torch.float64
    assert wanted.amax() <= 1 + 1e-12
    assert (wanted > 0).any()
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)


UNFOLDABLE = [
    "conv2d", "stride", "unread border", "dilation", "uneven kernel", "same, asymmetric", "reflect",
    "circular", "grouped", "depthwise",
]  # fmt: skip


@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("kind", UNFOLDABLE)
def test_it_equals_the_published_algorithm_on_unfolded_patches(kind, patches):
    layer, value = drawn(kind)
    wanted = by_unfolding(layer.module, value, patches)
    found = sensitivity(layer, value, patches, "max", ENOUGH)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    layer.module.float()
    single = sensitivity(layer, value.float(), patches, "max", ENOUGH)
    assert single.dtype == torch.float32
    largest = wanted.flatten(1).amax(1).view(-1, 1, 1, 1)
    assert ((single - wanted).abs() <= 1e-6 * largest).all()


@pytest.mark.parametrize("memory", [400, 4_000, 40_000])
@pytest.mark.parametrize("kernel", ["max", "sum"])
@pytest.mark.parametrize(
    "kind", ["linear", "conv1d", "conv3d", "stride", "grouped", "depthwise", "dilation"]
)
def test_memory_changes_no_bit(kind, kernel, memory):
    layer, value = drawn(kind, torch.float32)
    whole = sensitivity(layer, value, "max", kernel, ENOUGH)
    assert torch.allclose(sensitivity(layer, value, "max", kernel, memory), whole, rtol=1e-6)
    if kernel == "max":
        assert torch.equal(sensitivity(layer, value, "max", kernel, memory), whole)


class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
    """Bytes of the largest storage that an operator returned a part of; views take none."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for part in found if isinstance(found, tuple | list) else (found,):
            if isinstance(part, torch.Tensor):
                self.largest = max(self.largest, part.untyped_storage().nbytes())
        return found


@pytest.mark.parametrize("kernel", ["max", "sum"])
def test_the_maximum_stays_within_its_memory(kernel):
    """Unfolded patches of an image take 576 KiB and the products with all filters 9 MiB."""
    layer = Layer("", nn.Conv2d(16, 8, 3, padding=1))
    value = torch.rand(2, 16, 32, 32)
    outputs = 2 * 2 * 8 * 32 * 32 * 4  # rates: both signs of both images
    for memory in (1 << 16, 1 << 18, 1 << 20):
        with Sizes() as sizes:
            sensitivity(layer, value, "max", kernel, memory)
        assert sizes.largest <= max(memory // 2, outputs, 4 * 2 * 16 * 34 * 34)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype):
    layer, value = drawn("conv2d", dtype)
    found = sensitivity(layer, value, "mean", "max", ENOUGH)
    assert found.dtype == torch.float32
    layer.module.double()
    wanted = by_definition(layer, value.double(), "mean")
    assert torch.allclose(found.double(), wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_autocast_does_not_reach_it(kind):
    layer, value = drawn(kind, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = sensitivity(layer, value, "mean", "max", ENOUGH)
    assert torch.equal(found, sensitivity(layer, value, "mean", "max", ENOUGH))
    assert torch.allclose(found.double(), by_definition(layer, value, "mean").double(), atol=1e-6)


def test_reduced_products_of_single_precision_are_off_inside_and_set_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_precision("cpu"):
            left, right = torch.rand(64, 64), torch.rand(64, 64)
            exact = (left.double() @ right.double()).float()
            assert torch.allclose(left @ right, exact, rtol=1e-5)
            assert not torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("kind", ["linear", "conv2d", "transposed"])
def test_the_layer_and_its_input_are_left_alone(kind):
    layer, value = drawn(kind, torch.float32)
    weight, before = layer.weight.clone(), value.clone()
    for patches in ("mean", "max"):
        found = sensitivity(layer, value, patches, "max", ENOUGH)
        assert not found.requires_grad
    assert torch.equal(layer.weight, weight)
    assert torch.equal(value, before)


@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("kind", ["linear", "conv2d", "transposed"])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_not_hidden(kind, broken, patches):
    layer, value = drawn(kind, torch.float32)
    value.flatten()[0] = broken
    assert sensitivity(layer, value, patches, "max", ENOUGH).isnan().any()


@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("kind", ["linear", "conv2d", "depthwise", "transposed"])
def test_zeros_and_empty_batches_have_no_share(kind, patches):
    layer, value = drawn(kind, torch.float32)
    for each in (torch.zeros_like(value), value[:0]):
        found = sensitivity(layer, each, patches, "max", ENOUGH)
        assert found.shape == layer.weight.shape
        assert not found.any()


def test_sums_that_are_roundoff_beside_the_largest_count_as_zero():
    """Two patches whose sums are 1 and 1e-7, or 1 and 1e-5."""
    layer = Layer("", nn.Conv1d(2, 1, 1))
    nn.init.ones_(layer.module.weight)
    for small, share in ((1e-7, 0.0), (1e-5, 1.0)):
        value = torch.tensor([[[1.0, 0.0], [0.0, small]]])
        found = sensitivity(layer, value, "max", "max", ENOUGH)
        assert found.flatten().tolist() == pytest.approx([1.0, share])


def test_a_sign_that_is_absent_costs_nothing(monkeypatch):
    from lightning_prune.criteria.patches import Patches

    calls, plain = [], Patches.convolve
    monkeypatch.setattr(Patches, "convolve", lambda *a: calls.append(1) or plain(*a))
    layer, value = drawn("conv2d", torch.float32)
    for each, count in ((value, 2), (value.abs(), 1), (-value.abs(), 1), (value * 0, 0)):
        calls.clear()
        sensitivity(layer, each, "mean", "max", ENOUGH)
        assert len(calls) == count


def test_another_kind_of_layer_is_named():
    layer = Layer("scale", nn.BatchNorm1d(3))
    criterion = SiPP()
    criterion.reset()
    with pytest.raises(TypeError, match="Layer 'scale' is a BatchNorm1d; what its weights are"):
        criterion.observe(layer, torch.rand(2, 3))


def test_no_warning_is_raised():
    layer, value = drawn("same, asymmetric", torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sensitivity(layer, value, "mean", "max", ENOUGH).isfinite().all()
