"""Which tensors can be pruned, by type and name, and which never are."""

import pytest
import torch
import torch.nn.utils.prune as torch_prune
from torch import nn
from torch.nn.utils import parametrizations

from lightning_prune import LayerFilter, prune
from lightning_prune.network.layers import find_layers


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 6)
        self.stem = nn.Sequential(nn.Conv1d(6, 8, 3), nn.BatchNorm1d(8))
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.norm = nn.LayerNorm(8)
        self.up = nn.ConvTranspose1d(8, 4, 2)
        self.scale = nn.Parameter(torch.ones(4, 4))
        self.head = nn.Linear(4, 10, bias=False)

    def forward(self, tokens):
        x = self.stem(self.embedding(tokens).mT).mT
        for block in self.blocks:
            x = block(x).relu()
        return self.head(self.up(self.norm(x).mT).mT @ self.scale)


ALL = ["stem.0", "blocks.0", "blocks.1", "blocks.2", "up", "head"]


def names(model, **chosen):
    return [layer.name for layer in find_layers(model, LayerFilter(**chosen))]


def test_by_default_all_linear_and_convolutional_weights_and_nothing_else():
    layers = find_layers(Net())
    assert [layer.name for layer in layers] == ALL
    assert {layer.tensor for layer in layers} == {"weight"}


def test_embeddings_norms_biases_and_loose_parameters_are_never_touched():
    net = Net()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    prune(net, "magnitude", 0.4)
    chosen = {f"{name}.weight" for name in ALL}
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed <= chosen
    assert {"stem.0.weight", "up.weight"} <= changed


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"include": "blocks.*"}, ["blocks.0", "blocks.1", "blocks.2"]),
        ({"include": ["head", "up"]}, ["up", "head"]),
        ({"exclude": "*.0"}, ["blocks.1", "blocks.2", "up", "head"]),
        ({"include": "blocks.*", "exclude": ["blocks.1"]}, ["blocks.0", "blocks.2"]),
        ({"include": "blocks.[02]"}, ["blocks.0", "blocks.2"]),
        ({"types": "Linear"}, ["blocks.0", "blocks.1", "blocks.2", "head"]),
        ({"types": ["Conv1d", "ConvTranspose1d"]}, ["stem.0", "up"]),
        ({"types": "Linear", "exclude": "blocks.*"}, ["head"]),
    ],
)
def test_names_and_types_choose(chosen, found):
    assert names(Net(), **chosen) == found


def test_a_type_includes_its_subclasses():
    class Mine(nn.Linear):
        pass

    model = nn.Sequential(Mine(2, 2), nn.Linear(2, 2))
    assert names(model, types="Linear") == ["0", "1"]
    assert names(model, types="Mine") == ["0"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"include": "body.*"},
            r"include pattern 'body.\*' matches no prunable layer; there are 6",
        ),
        ({"include": "norm"}, "include pattern 'norm' matches no prunable layer"),
        ({"exclude": ["head", "tail"]}, "exclude pattern 'tail' matches no prunable layer"),
        ({"types": "Conv3d"}, "No prunable layer is of type 'Conv3d'"),
        ({"exclude": "*"}, "No prunable layer was found"),
    ],
)
def test_choices_that_match_nothing_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        find_layers(Net(), LayerFilter(**chosen))


def test_tied_embeddings_are_left_alone():
    net = Net()
    net.embedding = nn.Embedding(10, 4)
    net.head.weight = net.embedding.weight
    assert "head" not in names(net)


def test_a_weight_that_an_excluded_layer_also_holds_is_left_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert names(model, exclude="2") == ["1"]


def test_frozen_weights_are_left_alone():
    net = Net()
    net.blocks.requires_grad_(False)
    assert names(net) == ["stem.0", "up", "head"]


def test_shared_weights_are_one_layer():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert names(model) == ["0"]
    report = prune(model, "magnitude", 0.75)
    assert report.params == report.dense == 16 + 4 + 4
    assert int(model[1].weight.count_nonzero()) == 18 - 8


def test_a_module_under_two_names_is_one_layer():
    layer = nn.Linear(4, 4)
    model = nn.ModuleDict({"first": layer, "second": layer})
    assert names(model) == ["first"]


def test_dimensions_of_filters_and_inputs():
    layers = {layer.name: layer for layer in find_layers(Net())}
    assert [(layers[n].out_dim, layers[n].in_dim) for n in ("stem.0", "up")] == [(0, 1), (1, 0)]
    assert layers["up"].weight.shape[1] == 4


def test_names_are_those_of_the_module_that_was_compiled():
    net = Net()
    net.stem = torch.compile(net.stem)
    assert names(net) == ALL
    assert names(torch.compile(Net())) == ALL


def test_what_is_seen_is_the_live_weight_without_its_gradient():
    net = Net()
    layer = find_layers(net)[-1]
    assert layer.parameter is net.head.weight
    assert layer.weight.data_ptr() == net.head.weight.data_ptr()
    assert not layer.weight.requires_grad


def computed_by_hooks(layer):
    torch_prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize(
    "compute", [computed_by_hooks, parametrizations.weight_norm, parametrizations.orthogonal]
)
def test_computed_weights_are_refused_by_name_unless_left_out(compute):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    compute(model[0])
    with pytest.raises(ValueError, match=r"Layer '0' has no plain weight .*exclude='0'"):
        find_layers(model)
    assert names(model, exclude="0") == ["1"]


def test_lazy_layers_are_refused_until_they_have_weights():
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match="Layer '0' is lazy and has no weight yet"):
        find_layers(model)
    model(torch.ones(1, 3))
    assert names(model) == ["0"]


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="No prunable layer was found"):
        find_layers(nn.Sequential(nn.BatchNorm1d(3), nn.Embedding(3, 3)))
