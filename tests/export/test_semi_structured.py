"""2:4 weights: packed and unpacked without loss, in the bytes that the format promises."""

import pytest
import torch
from torch import nn

from lightning_prune import prune
from lightning_prune.export import pack_2_4, to_semi_structured, unpack_2_4


def pruned(inputs=24, outputs=10):
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs)
    left = outputs * (inputs // 2 + 1)
    prune(layer, "pattern_2_4", left / (outputs * (inputs + 1)))
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(outputs, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("inputs", [4, 8, 12, 64])
def test_what_the_method_leaves_is_packed_without_loss(inputs, dtype):
    weight = pruned(inputs)[0].weight.detach().to(dtype)
    packed = pack_2_4(weight)
    assert packed.values.shape == (10, inputs // 2)
    assert packed.values.dtype == dtype
    assert packed.indices.shape == (10, -(-inputs // 8))
    assert packed.indices.dtype == torch.uint8
    assert torch.equal(unpack_2_4(*packed), weight)


def test_bytes_of_half_the_values_and_two_bits_each():
    weight = pruned(64)[0].weight.detach().half()
    packed = pack_2_4(weight)
    dense = weight.numel() * 2
    assert packed.values.numel() * 2 == dense / 2
    # two bits for each of half the entries: 1/16 of 16 bits
    assert packed.indices.numel() == weight.numel() / 2 * 2 / 8 == dense / 16


def test_by_hand():
    weight = torch.tensor([[0.0, 5, 0, 7, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 2, 3]])
    packed = pack_2_4(weight)
    assert packed.values.tolist() == [[5, 7, 0, 0], [1, 0, 2, 3]]
    first = 1 | 3 << 2 | 0 << 4 | 1 << 6
    second = 0 | 1 << 2 | 2 << 4 | 3 << 6
    assert packed.indices.tolist() == [[first], [second]]
    assert torch.equal(unpack_2_4(*packed), weight)


def test_minus_zero_and_infinities():
    weight = torch.tensor([[-0.0, float("inf"), 0.0, -1e-45], [0.0, 0.0, float("nan"), 0.0]])
    again = unpack_2_4(*pack_2_4(weight))
    assert torch.equal(again.nan_to_num(7), weight.nan_to_num(7))


def test_what_is_not_2_4_is_named():
    told = (
        r"^fc cannot be packed: of its 60 blocks of 4 weights, 1 have more .* row 3, inputs 4 to 7"
    )
    weight = pruned()[0].weight.detach().clone()
    weight[3, 4:8] = 1
    with pytest.raises(ValueError, match=told):
        pack_2_4(weight, "fc")
    with pytest.raises(ValueError, match="its 6 inputs are no multiple of 4"):
        pack_2_4(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="its weight has 4 dimensions, not 2"):
        pack_2_4(torch.zeros(2, 8, 3, 3))
    with pytest.raises(ValueError, match=r"Values of \(2, 4\) have no indices of \(2, 2\)"):
        unpack_2_4(torch.zeros(2, 4), torch.zeros(2, 2, dtype=torch.uint8))


def test_kernels_need_a_gpu():
    net = pruned()
    with pytest.raises(ValueError, match=r"capability 8\.0 or newer: the device is cpu"):
        to_semi_structured(net)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="the device is cuda, and there is no CUDA here"):
            to_semi_structured(net, device="cuda")
    assert type(net[0].weight) is nn.Parameter


@pytest.mark.gpu
def test_sparse_kernels_compute_the_same():
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a CUDA device of compute capability 8.0 or newer")
    net = pruned(128, 64).half().cuda()
    x = torch.randn(64, 128, device="cuda", dtype=torch.half)
    expected = net(x)
    rows = to_semi_structured(net)
    assert [(row.name, row.converted) for row in rows] == [("0", True), ("2", False)]
    assert rows[1].why
    torch.testing.assert_close(net(x), expected, rtol=1e-2, atol=1e-2)
