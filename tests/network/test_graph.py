import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from lightning_prune.network.graph import build_graph
from lightning_prune.network.layers import Layer, LayerFilter, find_layers


def graph_of(model, *inputs):
    model.eval()
    return build_graph(model, lambda: model(*inputs), len(inputs[0]))


def counted(model, *inputs):
    """Multiply-adds of one sample by torch's counter, which misses some fused attention."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() / 2 / len(inputs[0])


class Flow(nn.Module):
    """One step of a continuous flow: a field, and its divergence by autograd in the forward."""

    def __init__(self):
        super().__init__()
        self.field = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        x = x.requires_grad_()
        step = self.field(x)
        rows = [torch.autograd.grad(step[:, i].sum(), x, create_graph=True)[0] for i in range(3)]
        return x + step, sum(row[:, i] for i, row in enumerate(rows))


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embed, self.head = nn.Linear(4, 8), nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x):
        x = self.embed(x)
        return self.head(self.attention(x, x, x)[0])


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(4, 6), kind(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.cell(self.embed(x))[0])


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 12, 3, groups=12),
        nn.ConvTranspose2d(12, 6, 3, 2), nn.ConvTranspose2d(6, 6, 2, groups=3), nn.Flatten(2),
        nn.Conv1d(6, 4, 2), nn.Linear(195, 5),
    )  # fmt: skip


NETS = {
    "convolutions": (convolutions, (3, 20, 20)),
    "transformer": (transformer, (5, 8)),
    "attention": (Attention, (5, 4)),
    "recurrent": (lambda: Recurrent(nn.GRU), (7, 4)),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("samples", [1, 3])
def test_multiply_adds_are_half_of_the_counters_flops(net, samples):
    make, shape = NETS[net]
    model, x = make().eval(), torch.randn(samples, *shape)
    assert graph_of(model, x).macs == counted(model, x)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("net", NETS)
def test_fused_paths_of_inference_count_alike(net, mode):
    make, shape = NETS[net]
    model, x = make(), torch.randn(2, *shape)
    expected = graph_of(model, x)
    with mode():
        found = graph_of(model, x)
    assert (found.macs, found.positions) == (expected.macs, expected.positions)
    assert found.pinned == expected.pinned
    assert torch.backends.mha.get_fastpath_enabled()


def test_positions_times_entries_are_the_multiply_adds_of_layers():
    model, x = convolutions(), torch.randn(2, 3, 20, 20)
    graph = graph_of(model, x)
    layers = graph.traced(find_layers(model))
    assert sum(layer.positions * layer.weight.numel() for layer in layers) == graph.macs
    assert {layer.calls for layer in layers} == {1}


def test_positions_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 3, 2), nn.Linear(5, 4))
    graph = graph_of(model, torch.randn(6, 1, 6, 6))
    # 4 x 4 outputs; a transposed convolution multiplies at its 4 x 4 inputs; 3 x 5 rows
    assert graph.positions == {"0": 16, "1": 16, "2": 15}


def test_a_layer_used_twice_counts_twice_and_an_unused_one_not_at_all():
    inner = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), inner, nn.ReLU(), inner, nn.Linear(4, 2))
    model.spare = nn.Linear(4, 4)
    model.forward = lambda x: model[4](model[3](model[2](model[1](model[0](x)))))
    graph = graph_of(model, torch.randn(2, 4))
    assert (graph.positions["1"], graph.calls["1"]) == (2, 2)
    spare = Layer("spare", model.spare)
    assert [(layer.positions, layer.calls) for layer in graph.traced([spare])] == [(0, 0)]
    assert graph.pinned["spare"] == "the traced forward does not call it"
    assert "1" not in graph.pinned


def test_gradients_inside_of_the_forward_are_counted_and_followed():
    class Counter(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func._overloadpacket in flop_registry:
                flops = flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
                self.total += flops
            return out

    model, x = Flow(), torch.randn(5, 3)
    graph = graph_of(model, x)
    with Counter() as counter:
        model(x)
    assert graph.macs == counter.total / 2 / 5
    assert graph.positions == {"field.0": 4, "field.2": 4}  # a forward and three gradients
    assert graph.calls == {"field.0": 1, "field.2": 1}
    (group,) = graph.groups(find_layers(model))
    assert (group.name, group.size) == ("field.0", 8)


def test_groups_hold_every_slice_of_a_unit():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5)
    )
    graph = graph_of(model, torch.randn(2, 3, 4, 4))
    (group,) = graph.groups(graph.traced(find_layers(model)))
    assert (group.name, group.size, [layer.name for layer in group.layers]) == ("0", 8, ["0"])
    slices = {(part.name, part.tensor): part for part in group.slices}
    assert set(slices) == {
        ("0", "weight"), ("0", "bias"), ("1", "weight"), ("1", "bias"), ("1", "running_mean"),
        ("1", "running_var"), ("4", "weight"),
    }  # fmt: skip
    assert slices["4", "weight"].units.tolist() == [i // 4 for i in range(32)]
    assert slices["0", "weight"].units.tolist() == list(range(8))
    assert (slices["0", "weight"].positions, slices["1", "weight"].positions) == (4, 0)
    assert graph.pinned == {"4": "they are the network's outputs"}


@pytest.mark.parametrize(
    ("model", "shape", "layer", "reason"),
    [
        (nn.Sequential(nn.Conv2d(4, 6, 1, groups=2), nn.Conv2d(6, 2, 1)), (4, 3, 3), "0",
         "a grouped convolution reads channels that no layer made"),
        (nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 3, 1, groups=3), nn.Conv2d(3, 6, 1),
                       nn.Conv2d(6, 4, 1, groups=2), nn.Softmax(1)), (4, 3, 3), "2",
         "_softmax runs over them"),
        (Attention(add_zero_attn=True), (5, 4), "embed",
         "MultiheadAttention attention reads or makes them"),
        (Recurrent(nn.GRU), (5, 4), "embed", "GRU cell reads or makes them"),
        (Recurrent(nn.LSTM), (5, 4), "embed", "LSTM cell reads or makes them"),
        (nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(1, 4), nn.Conv2d(4, 1, 1)), (2, 3, 3),
         "0", "group_norm runs over them"),
        (nn.Sequential(nn.Conv2d(2, 4, 1), nn.ZeroPad3d((0, 0, 0, 0, 1, 1)), nn.GroupNorm(2, 6),
                       nn.Conv2d(6, 4, 1), nn.GroupNorm(2, 4), nn.Softmax(1)), (2, 3, 3),
         "3", "_softmax runs over them"),
        (nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1)), (4, 3, 3),
         "1", "they are the network's outputs"),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (3,),
         "0", "layer_norm runs over them"),
        (nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2)), (3,),
         "0", "_softmax runs over them"),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 2, 1)), (3, 2, 2),
         "0", "the operator pixel_shuffle is not followed"),
        (nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 2)), (3,), "0",
         "it is the only one of its layer"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_by_name(model, shape, layer, reason):
    assert graph_of(model, torch.randn(2, *shape)).pinned[layer] == reason


def test_whole_groups_of_a_convolution_are_units():
    model = convolutions()
    graph = graph_of(model, torch.randn(2, 3, 20, 20))
    first, second = graph.groups(graph.traced(find_layers(model)))
    assert (first.name, first.size) == ("0+1+2", 4)
    units = {(part.name, part.tensor, part.dim): part.units.tolist() for part in first.slices}
    assert units["0", "weight", 0] == [unit for unit in range(4) for _ in range(2)]
    assert units["1", "weight", 0] == [unit for unit in range(4) for _ in range(3)]
    assert units["3", "weight", 0] == units["1", "weight", 0]  # a reader's columns
    assert ("1", "weight", 1) not in units  # it keeps its size
    # transposed: rows are what it reads, and its bias is what it makes
    assert (second.name, second.size) == ("3", 3)
    made = {(part.name, part.tensor, part.dim): part.units.tolist() for part in second.slices}
    assert made["4", "weight", 0] == made["4", "bias", 0] == [0, 0, 1, 1, 2, 2]
    assert made["6", "weight", 1] == [0, 0, 1, 1, 2, 2]


def test_channels_that_share_a_group_norm_are_one_unit():
    model = nn.Sequential(nn.Conv2d(2, 6, 1), nn.GroupNorm(3, 6), nn.Conv2d(6, 1, 1))
    graph = graph_of(model, torch.randn(2, 2, 3, 3))
    (group,) = graph.groups(find_layers(model))
    assert (group.name, group.size) == ("0", 3)
    units = {(part.name, part.tensor): part.units.tolist() for part in group.slices}
    assert set(units) == {
        ("0", "weight"), ("0", "bias"), ("1", "weight"), ("1", "bias"), ("2", "weight"),
    }  # fmt: skip
    assert all(owners == [0, 0, 1, 1, 2, 2] for owners in units.values())


def test_a_group_norm_over_inputs_of_the_network_keeps_its_groups():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm, self.head = (
                nn.Conv2d(1, 5, 1),
                nn.GroupNorm(3, 6),
                nn.Conv2d(6, 1, 1),
            )

        def forward(self, x):
            return self.head(self.norm(torch.cat([x, self.stem(x)], 1)))

    model = Joined()
    graph = graph_of(model, torch.randn(2, 1, 3, 3))
    (group,) = graph.groups(find_layers(model))
    assert group.size == 2
    assert graph.pinned["stem"] == "they share a group norm with channels of no layer (1 of 5)"


def test_a_layer_whose_outputs_are_one_unit_keeps_it():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
            self.first, self.second = (nn.Conv2d(4, 4, 1, groups=2) for _ in range(2))

        def forward(self, x):
            x = self.stem(x)
            return self.head(self.first(x) + self.second(x[:, [1, 2, 3, 0]]))

    model = Tied()
    graph = graph_of(model, torch.randn(2, 3, 3, 3))
    assert graph.groups(find_layers(model)) == []
    assert graph.pinned["stem"] == "it is the only one of its layer"


def test_layers_left_out_keep_their_outputs_and_lose_columns():
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    graph = graph_of(model, torch.randn(2, 3))
    (group,) = graph.groups(find_layers(model, LayerFilter(exclude="2")))
    assert [(part.name, part.dim) for part in group.slices] == [("0", 0), ("0", 0), ("2", 1)]


def test_a_frozen_part_keeps_the_whole_unit():
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    model[2].weight.requires_grad_(False)
    graph = graph_of(model, torch.randn(2, 3))
    assert graph.groups(find_layers(model)) == []
    assert graph.pinned["0"] == graph.pinned["2"] == "2.weight is frozen"


def test_a_shared_stream_needs_all_its_makers():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            x = self.stem(x)
            return self.head(x + self.block(x))

    model = Residual()
    graph = graph_of(model, torch.randn(2, 3))
    (group,) = graph.groups(find_layers(model))
    assert (group.name, group.size) == ("stem+block", 8)
    chosen = find_layers(model, LayerFilter(exclude="block"))
    assert graph.groups(chosen) == []
    why = "they are shared with block, which is not to be pruned"
    assert graph.refused(chosen)["stem"] == why


def test_a_depthwise_layer_left_out_keeps_its_channels():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))
    graph = graph_of(model, torch.randn(2, 3, 5, 5))
    assert len(graph.groups(find_layers(model))) == 1
    assert graph.groups(find_layers(model, LayerFilter(exclude="1"))) == []


def test_compiled_parts_are_traced_under_their_plain_names():
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    model = nn.Sequential(torch.compile(net))
    graph = graph_of(model, torch.randn(2, 3))
    (group,) = graph.groups(graph.traced(find_layers(model)))
    assert group.name == "0.0"
    assert graph.positions == {"0.0": 1, "0.2": 1}


def test_a_forward_needs_samples():
    with pytest.raises(ValueError, match="at least one sample"):
        build_graph(nn.Linear(2, 2), lambda: None, 0)
