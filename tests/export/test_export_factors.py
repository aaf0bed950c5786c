"""Two plain layers of every factored one: the same outputs, and what the folding says they cost."""

import copy
import itertools
import pickle
import random
import warnings

import pytest
import torch
import torch.nn.functional as F
from nets_factored import Holder, conv_net, factor, pruned_net, sliced_net
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune.export import BlockLinear, export_factors
from lightning_prune.lowrank import Factors, compose, factored, factors_of, folding_of
from lightning_prune.network.maps import map_sizes

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
CHANNELS = 6
# of kernels of even size, and of the containers' own path for padded inputs
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]


def close(one, other):
    """Equal up to the tolerance of the dtype, relative to the largest value."""
    scale = other.abs().max().clamp_min(1).item()
    assert one.shape == other.shape
    assert (one - other).abs().max().item() <= TOLERANCE[other.dtype] * scale


def same_function(layer, inputs):
    """What the layer becomes works as the layer with its composed weight; it is returned."""
    pair = export_factors(layer)
    assert isinstance(pair, nn.Sequential)
    assert [name for name, _ in pair.named_children()] == ["encoder", "decoder"]
    plain = copy.deepcopy(layer)
    compose(plain)
    close(pair(inputs), plain(inputs))
    return pair


def multiply_adds(module, inputs):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(inputs)
    return counter.get_total_flops() // 2


WAYS = list(itertools.product(range(4), (1, 2, 3, CHANNELS), (1, 2, 99)))


@pytest.mark.parametrize(("scheme", "slices", "rank"), WAYS)
def test_a_convolution_in_every_way(scheme, slices, rank):
    geometries = itertools.product(((1, 1), (2, 1)), (0, 1, (1, 2), "same"), (1, 2, (2, 1)))
    for stride, padding, dilation in geometries:
        if padding == "same" and stride != (1, 1):
            continue  # torch has no such convolution
        modes = ("zeros", "reflect", "replicate", "circular")
        for mode in modes if padding != 0 else modes[:1]:
            bias, dtype = random.random() < 0.5, random.choice(list(TOLERANCE))
            layer = nn.Conv2d(
                CHANNELS, 4, (3, 2), stride, padding, dilation, bias=bias, padding_mode=mode
            ).to(dtype)
            pair = same_function(
                factor(layer, scheme, slices, rank), torch.randn(2, CHANNELS, 9, 8, dtype=dtype)
            )
            assert pair.encoder.groups == slices
            assert pair.encoder.bias is None
            assert (pair.decoder.bias is not None) == bias


def test_every_axis_is_strided_and_padded_once():
    like = {"stride": (2, 3), "padding": (1, 2), "dilation": (1, 2)}
    layer = factor(nn.Conv2d(4, 8, 3, **like, padding_mode="reflect"), scheme=1)
    pair = export_factors(layer)
    assert (pair.encoder.kernel_size, pair.decoder.kernel_size) == ((1, 3), (3, 1))
    assert (pair.encoder.stride, pair.decoder.stride) == ((1, 3), (2, 1))
    assert (pair.encoder.padding, pair.decoder.padding) == ((0, 2), (1, 0))
    assert (pair.encoder.dilation, pair.decoder.dilation) == ((1, 2), (1, 1))
    assert pair.encoder.padding_mode == pair.decoder.padding_mode == "reflect"


def test_a_channel_a_slice_is_a_depthwise_and_a_pointwise_convolution():
    pair = export_factors(factor(nn.Conv2d(6, 8, 3), 0, 6, 1))
    assert pair.encoder.weight.shape == (6, 1, 3, 3)
    assert pair.decoder.weight.shape == (8, 6, 1, 1)
    assert sum(p.numel() for p in pair.parameters()) == 8 * 6 + 6 * 9 + 8


@pytest.mark.parametrize("scheme", range(4))
@pytest.mark.parametrize("padding", ["same", "valid", 2])
@pytest.mark.parametrize("slices", [1, 2])
def test_grouped_convolutions(scheme, padding, slices):
    layer = nn.Conv2d(8, 12, (4, 3), padding=padding, groups=2).double()
    pair = same_function(factor(layer, scheme, slices, 2), torch.randn(2, 8, 9, 8).double())
    assert (pair.encoder.groups, pair.decoder.groups) == (2 * slices, 2)


@pytest.mark.parametrize("scheme", [0, 3])
@pytest.mark.parametrize("slices", [1, 3])
def test_convolutions_of_one_and_of_three_axes(scheme, slices):
    one = nn.Conv1d(6, 8, 3, stride=2, padding=1).double()
    pair = same_function(factor(one, scheme, slices), torch.randn(2, 6, 11).double())
    assert type(pair.encoder) is type(pair.decoder) is nn.Conv1d
    three = nn.Conv3d(6, 4, (1, 2, 3), stride=(1, 2, 1), padding=1).double()
    pair = same_function(factor(three, scheme, slices), torch.randn(2, 6, 4, 5, 6).double())
    assert type(pair.encoder) is type(pair.decoder) is nn.Conv3d


@pytest.mark.parametrize("slices", [1, 2, 3, 12])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 1, 4)])
def test_linear_layers_of_inputs_with_any_leading_axes(slices, bias, leading):
    for dtype in TOLERANCE:
        layer = factor(nn.Linear(12, 7, bias=bias).to(dtype), 0, slices, 1)
        pair = same_function(layer, torch.randn(*leading, 12, dtype=dtype))
        assert type(pair.encoder) is (nn.Linear if slices == 1 else BlockLinear)
        assert type(pair.decoder) is nn.Linear
        assert (pair.decoder.bias is not None) == bias


def test_a_block_linear_layer_is_one_with_blocks_on_its_diagonal():
    layer = BlockLinear(nn.Parameter(torch.randn(6, 2)), 3)
    full = torch.block_diag(*layer.weight.chunk(3))
    x = torch.randn(4, 6)
    close(layer(x), F.linear(x, full))
    assert "in_features=6, out_features=6, blocks=3" in repr(layer)
    with pytest.raises(ValueError, match=r"\(6, 2\) has no 4 blocks of one size"):
        BlockLinear(layer.weight, 4)


@pytest.mark.parametrize("scheme", range(4))
@pytest.mark.parametrize("slices", [1, 2])
def test_at_full_rank_it_is_the_original_layer(scheme, slices):
    layer = nn.Conv2d(4, 6, 3, padding=1).double()
    x = torch.randn(2, 4, 7, 7).double()
    expected = layer(x)
    pair = export_factors(factor(layer, scheme, slices, 99))
    torch.testing.assert_close(pair(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("scheme", "macs"), [(0, 21600), (1, 18360), (2, 16416), (3, 35832)])
def test_parameters_and_multiply_adds_are_those_that_the_folding_says(scheme, macs):
    layer = nn.Conv2d(12, 10, (3, 5), stride=(2, 1), padding=(1, 0), bias=False)
    x = torch.randn(1, 12, 11, 13)
    with map_sizes(layer) as sizes:
        layer(x)
    layer = factor(layer, scheme, 2, 2)
    pair, folding = export_factors(layer), folding_of(layer)
    assert multiply_adds(pair, x) == macs
    assert folding.macs(2, 54, sizes[""]) == macs
    assert sum(p.numel() for p in pair.parameters()) == folding.params(2)


def test_those_of_linear_and_grouped_layers_too():
    layer = factor(nn.Linear(12, 8, bias=False), 0, 3, 2)
    pair, folding = export_factors(layer), folding_of(layer)
    assert multiply_adds(pair, torch.randn(5, 12)) == 5 * folding.macs(2, 1, None)
    assert sum(p.numel() for p in pair.parameters()) == folding.params(2)
    layer = nn.Conv2d(8, 12, 3, stride=2, groups=2, bias=False)
    with map_sizes(layer) as sizes:
        layer(torch.randn(1, 8, 9, 9))
    for scheme in range(4):
        compose(layer)
        folding = folding_of(factor(layer, scheme, 2, 2))
        pair = export_factors(layer)
        assert multiply_adds(pair, torch.randn(1, 8, 9, 9)) == folding.macs(2, 16, sizes[""])
        assert sum(p.numel() for p in pair.parameters()) == folding.params(2)


@pytest.mark.parametrize("net", [pruned_net, sliced_net])
def test_a_pruned_network_has_the_same_outputs_and_is_smaller(net):
    net = net()
    names = [name for name, _ in factored(net)]
    assert names
    small = export_factors(net)
    x = torch.randn(4, 3, 12, 12)
    close(small(x), net(x))
    assert not any(parametrize.is_parametrized(module) for module in small.modules())
    assert [name for name, _ in factored(net)] == names  # the model itself stays
    count = sum(p.numel() for p in net.parameters())
    assert sum(p.numel() for p in small.parameters()) == count
    assert count < sum(p.numel() for p in conv_net().parameters())
    assert multiply_adds(small, x) < multiply_adds(net, x)
    assert set(small.state_dict()) == {
        name.replace("parametrizations.weight.original0", "encoder.weight")
        .replace("parametrizations.weight.original1", "decoder.weight")
        .replace(".bias", ".decoder.bias" if name.removesuffix(".bias") in names else ".bias")
        for name in net.state_dict()
    }


def test_in_place_the_parameters_are_the_factors_themselves():
    net = sliced_net()
    held = [*factors_of(net[3]), net[3].bias]
    assert export_factors(net, inplace=True) is net
    made = net[3].encoder.weight, net[3].decoder.weight, net[3].decoder.bias
    assert all(one is other for one, other in zip(held, made, strict=True))
    assert list(factored(net)) == []
    assert export_factors(net, inplace=True) is net  # there is nothing left to do


def test_dtype_mode_and_frozen_parameters_stay():
    net = sliced_net().double().train()
    net[3].eval()
    for parameter in net[5].parameters():
        parameter.requires_grad_(False)
    small = export_factors(net)
    assert {p.dtype for p in small.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in small[5].parameters())
    assert all(p.requires_grad for p in small[3].parameters())
    assert not any(module.training for module in small[3].modules())
    assert all(module.training for module in small[5].modules())
    half = export_factors(factor(nn.Linear(8, 8).bfloat16(), 0, 2))
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_random_streams_stay_and_nothing_is_told():
    net = sliced_net()
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_factors(net)
    assert torch.equal(before, torch.random.get_rng_state())


def test_all_weights_learn():
    small = export_factors(sliced_net()).train()
    before = {name: p.detach().clone() for name, p in small.named_parameters()}
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    F.cross_entropy(small(torch.randn(8, 3, 12, 12)), torch.arange(8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small.parameters())
    optimizer.step()
    # before a norm a bias has no effect
    same = [n for n, p in small.named_parameters() if torch.equal(p, before[n])]
    assert set(same) <= {"0.decoder.bias"}


class Shared(nn.Module):
    """One layer under two names, in a list of its own and in a dict."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 6)
        self.blocks = nn.ModuleDict({"a": nn.Sequential(self.one, nn.ReLU())})
        self.listed = [self.one, "a"]
        self.keyed = {"a": self.one}
        self.pair = (self.one, 3)
        self.none = None
        object.__setattr__(self, "hidden", self.one)

    def forward(self, x):
        return self.listed[0](self.blocks["a"](self.one(x)))


def test_a_shared_layer_is_one_layer_afterwards():
    net = Shared()
    factor(net.one, 0, 2, 1)
    small = export_factors(net)
    assert small.one is not net.one
    alike = small.blocks["a"][0], small.listed[0], small.keyed["a"], small.pair[0], small.hidden
    assert all(other is small.one for other in alike)
    assert small.pair[1] == 3
    assert net.listed[0] is net.one
    x = torch.randn(3, 6)
    close(small(x), net(x))
    assert len(list(small.parameters())) == 3


def test_nested_models_and_compiled_ones():
    net = Holder(Holder(sliced_net()))
    x = torch.randn(2, 3, 12, 12)
    expected = net(x)
    close(export_factors(net)(x), expected)
    compiled = torch.compile(net, backend="eager")
    compiled(x)
    assert export_factors(compiled, inplace=True) is compiled
    close(compiled(x), expected)
    assert list(factored(compiled)) == []


def test_hooks_on_a_layer_go_on():
    net = sliced_net()
    seen = []
    handle = net[3].register_forward_hook(lambda module, args, out: seen.append(module))
    export_factors(net, inplace=True)
    net(torch.randn(2, 3, 12, 12))
    assert seen == [net[3]]
    handle.remove()
    net(torch.randn(2, 3, 12, 12))
    assert len(seen) == 1


@pytest.mark.parametrize("slices", [1, 2])
def test_containers_of_torch_that_read_weights_call_the_layers(slices):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net = nn.TransformerEncoder(layer, 2).eval()
    for block in net.layers:
        factor(block.linear1, 0, slices, 3)
        factor(block.linear2, 0, slices, 3)
    x, hidden = torch.randn(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    hidden[1, 3:] = True
    small = export_factors(net)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            close(small(x), net(x))
            # the other path leaves padded places at 0
            masked = small(x, src_key_padding_mask=hidden), net(x, src_key_padding_mask=hidden)
            close(masked[0][~hidden], masked[1][~hidden])


def test_a_model_without_factors_is_copied_as_it_is():
    net = conv_net()
    other = export_factors(net)
    assert other is not net
    assert list(other.state_dict()) == list(net.state_dict())
    assert export_factors(net, inplace=True) is net


class Uncopied(nn.Module):
    """Keeps a tensor of a graph, as `torchdyn.core.NeuralODE` does."""

    def __init__(self):
        super().__init__()
        self.layer = factor(nn.Linear(4, 4))
        self.kept = self.layer.bias * 2


def test_a_model_that_cannot_be_copied_is_exported_in_place():
    net = Uncopied()
    with pytest.raises(ValueError, match=r"^The model cannot be copied .*inplace=True changes"):
        export_factors(net)
    assert isinstance(export_factors(net, inplace=True).layer, nn.Sequential)


class Doubled(nn.Conv2d):
    """Works in a way of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


class Other(Factors):
    """Of a kind that nobody knows."""


class Twice(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_layers_that_are_more_than_their_factors_are_refused_and_nothing_changes():
    net = nn.Sequential(factor(nn.Conv2d(3, 4, 3)), factor(Doubled(4, 4, 3)))
    with pytest.raises(ValueError, match=r"layer '1' cannot be exported: its class Doubled has a"):
        export_factors(net, inplace=True)
    assert [name for name, _ in factored(net)] == ["0", "1"]
    net = nn.Sequential(factor(nn.Linear(4, 4)))
    parametrize.register_parametrization(net[0], "bias", Twice())
    with pytest.raises(ValueError, match="layer '0' cannot be exported: it has other param"):
        export_factors(net)
    net = nn.Sequential(factor(nn.Linear(4, 4)))
    net[0].parametrizations.weight[0].__class__ = Other
    with pytest.raises(ValueError, match=r"layer '0' .*: nothing makes plain layers of Other\.$"):
        export_factors(net)
    net = factor(nn.Linear(4, 4), rank=0)
    with pytest.raises(ValueError, match="its rank is 0, and torch has no layers"):
        export_factors(net)


def test_what_is_exported_is_copied_and_pickled():
    x = torch.randn(2, 3, 12, 12)
    small = export_factors(sliced_net())
    for other in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(other(x), small(x))
