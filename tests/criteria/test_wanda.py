"""Wanda by hand, and its norms against unfolded inputs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune import prune
from lightning_prune.criteria import Wanda
from lightning_prune.network.network import Network
from lightning_prune.structures import Filters, Weights


def watched(net, *batches):
    criterion = Wanda()
    criterion.reset()
    (layer,) = Network(net).layers
    for batch in batches:
        criterion.observe(layer, batch)
    return criterion, layer


def test_scores_by_hand():
    """Norms of the inputs are 5 and 1: [[2, 1], [0.1, 4]] scores [[10, 1], [0.5, 4]]."""
    net = nn.Linear(2, 2)
    net.weight.data = torch.tensor([[2.0, -1.0], [0.1, 4.0]])
    criterion, layer = watched(net, torch.tensor([[3.0, 0.0]]), torch.tensor([[-4.0, 1.0]]))
    assert criterion.score(layer, Weights()).tolist() == pytest.approx([10, 1, 0.5, 4])
    assert criterion.score(layer, Filters()).tolist() == pytest.approx([11, 4.5])


def test_every_output_keeps_the_same_share():
    """The second row is smaller all over, and keeps as much."""
    net = nn.Linear(4, 2, bias=False)
    net.weight.data = torch.tensor([[40.0, 30.0, 20.0, 10.0], [1.0, 2.0, 3.0, 4.0]])
    inputs = torch.tensor([[1.0, 1.0, 9.0, 1.0]])
    prune(net, "wanda", 0.5, loader=[inputs])
    assert net.weight.tolist() == [[40, 0, 20, 0], [0, 0, 3, 4]]


def test_tokens_count_one_by_one():
    net, x = nn.Linear(3, 2), torch.randn(4, 5, 3)
    one, layer = watched(net, x)
    other, _ = watched(net, x.flatten(0, 1))
    assert torch.allclose(one.seen[layer.name], other.seen[layer.name])
    assert torch.allclose(one.seen[""][0], x.square().sum((0, 1)))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2}, {"padding": (2, 1)}, {"dilation": 2}, {"padding": (1, 2), "stride": 3}],
    ids=repr,
)
def test_norms_of_a_convolution_are_those_of_the_unfolded_input(groups, options):
    net = nn.Conv2d(4, 8, 3, groups=groups, **options).double()
    x = torch.randn(3, 4, 9, 8, dtype=torch.float64)
    criterion, layer = watched(net, x)
    rows = F.unfold(x, 3, **options).square().sum((0, 2)).view(groups, -1)
    wanted = rows.sqrt().repeat_interleave(8 // groups, 0) * net.weight.detach().abs().flatten(1)
    torch.testing.assert_close(criterion.score(layer, Weights()), wanted.flatten())


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_paddings_of_other_kinds_are_inputs(mode):
    net, x = nn.Conv1d(2, 3, 3, padding=2, padding_mode=mode), torch.randn(2, 2, 7)
    criterion, layer = watched(net, x)
    padded = F.pad(x, (2, 2), mode=mode)
    wanted = torch.stack([padded[:, :, k : k + 9].square().sum((0, 2)) for k in range(3)], 1)
    torch.testing.assert_close(criterion.seen[layer.name], wanted[None])


def test_a_padding_by_name_and_three_dimensions():
    net, x = nn.Conv3d(2, 2, 3, padding="same"), torch.randn(1, 2, 4, 4, 4)
    criterion, layer = watched(net, x)
    # corners of the kernel meet the inputs from index 1 on, or up to the last but one
    for corner, part in ((2, slice(1, None)), (0, slice(None, -1))):
        wanted = x[:, :, part, part, part].square().sum((0, 2, 3, 4))
        found = criterion.seen[layer.name][0, :, corner, corner, corner]
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("groups", [1, 2])
def test_every_input_of_a_transposed_convolution_meets_every_entry_of_its_kernel(groups):
    net, x = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups), torch.randn(2, 4, 5, 5)
    criterion, layer = watched(net, x)
    wanted = net.weight.detach().abs() * x.square().sum((0, 2, 3)).sqrt().view(4, 1, 1, 1)
    torch.testing.assert_close(criterion.score(layer, Weights()), wanted.flatten())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_squares_do_not_leave_half_precision(dtype):
    net = nn.Linear(1, 1).to(dtype)
    criterion, _ = watched(net, torch.full((4, 1), 1000.0, dtype=dtype))
    assert criterion.seen[""].item() == pytest.approx(4e6)


def test_autocast_does_not_narrow_what_is_observed():
    net, x = nn.Conv2d(1, 1, 1), torch.full((1, 1, 1, 1), 300.0)
    with torch.autocast("cpu", torch.float16):
        criterion, _ = watched(net, x)
    assert criterion.seen[""].item() == 90000
