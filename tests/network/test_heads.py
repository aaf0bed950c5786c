import pytest
import torch
from torch import nn

from lightning_prune.models.transformer import EncoderBlock
from lightning_prune.network.graph import build_graph
from lightning_prune.network.heads import attention_layers, head_attributes
from lightning_prune.network.layers import find_layers


def groups_of(model, *shape):
    x = torch.randn(2, *shape)
    graph = build_graph(model.eval(), lambda: model(x), 2)
    return graph.groups(find_layers(model))


def told(found):
    return [(each.name, each.attribute, each.heads, each.size) for each in found]


class Projections(nn.Module):
    """Layers one level below the module that splits, as some libraries nest them."""

    def __init__(self, **numbers):
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Linear(12, 12) for name in "qkv"})
        self.out = nn.Linear(12, 12)
        vars(self).update(numbers)

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (4, 3)).transpose(1, 2) for layer in self.parts.values())
        return self.out(((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_the_number_of_heads_of_a_block():
    model = nn.Sequential(EncoderBlock(12, 4, 10), EncoderBlock(12, 3, 10))
    groups = groups_of(model, 5, 12)
    found = head_attributes(model, groups)
    assert told(found) == [("0", "heads", 4, 1), ("1", "heads", 3, 1)]
    assert [each.module for each in found] == [*model]
    assert [each.group.name for each in found] == ["0.query+0.key+0.value", "1.query+1.key+1.value"]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"num_attention_heads": 4, "all_head_size": 12, "head_dim": 3},
         [("", "num_attention_heads", 4, 1), ("", "all_head_size", 4, 3)]),
        ({"num_heads": 4, "n_heads": 4}, [("", "num_heads", 4, 1), ("", "n_heads", 4, 1)]),
        ({"num_heads": 5}, []),
        ({"num_heads": 2, "inner_dim": 12}, []),
        ({"num_heads": 4.0}, []),
        ({"num_heads": True}, []),
        ({"inner_dim": 12}, []),  # a width alone could be any other number
        ({"nhead": 4, "inner_dim": 24}, [("", "nhead", 4, 1)]),
        ({"number": 4}, []),
    ],
)  # fmt: skip
def test_attributes_that_fit(numbers, expected):
    model = Projections(**numbers)
    assert told(head_attributes(model, groups_of(model, 5, 12))) == expected


def test_the_nearest_module_counts():
    model = nn.Sequential(Projections())
    model.num_heads = 4
    groups = groups_of(model, 5, 12)
    assert head_attributes(model, groups) == []  # two levels above the layers
    model[0].num_heads = 4
    assert told(head_attributes(model, groups)) == [("0", "num_heads", 4, 1)]


def test_units_of_one_row_are_no_heads():
    model = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 12))
    model.num_heads = 4
    assert head_attributes(model, groups_of(model, 12)) == []


def test_another_copy_of_the_network_is_asked_by_names():
    model, copy = EncoderBlock(12, 4, 10), EncoderBlock(12, 4, 10)
    (found,) = head_attributes(copy, groups_of(model, 5, 12))
    assert found.module is copy


def test_projections_of_torchs_attention_are_layers():
    model = nn.ModuleDict(
        {"a": nn.MultiheadAttention(8, 2), "b": nn.MultiheadAttention(8, 2, kdim=3, vdim=5)}
    )
    layers = attention_layers(model)
    assert [(layer.name, layer.tensor) for layer in layers] == [
        ("a", "in_proj_weight"), ("b", "q_proj_weight"), ("b", "k_proj_weight"),
        ("b", "v_proj_weight"),
    ]  # fmt: skip
    assert {layer.name for layer in find_layers(model)} == {"a.out_proj", "b.out_proj"}
