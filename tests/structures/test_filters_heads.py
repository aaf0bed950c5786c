"""Heads of attention as units, whatever way the forward splits and joins them."""

import pytest
import torch
import torch.nn.functional as F
from thin import check_selection, macs_of_products
from torch import nn

from lightning_prune.models.transformer import EncoderBlock
from lightning_prune.network.graph import build_graph
from lightning_prune.network.heads import attention_layers
from lightning_prune.network.layers import find_layers

TOKENS = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
HEADS, SIZE = 4, 3


class Fused(nn.Module):
    """One projection for queries, keys and values; what happens to them is what a test is about."""

    def __init__(self, attend):
        super().__init__()
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.relative, self.gate = nn.Linear(2, HEADS, bias=False), nn.Linear(12, HEADS)
        self.temperature, self.norm = nn.Parameter(torch.ones(HEADS, 1, 1)), nn.LayerNorm(SIZE)
        self.num_heads, self.attend = HEADS, attend

    def split(self, x):
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, SIZE))
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x):
        seen = self.attend(self, x, *self.split(x))
        return self.out(seen.transpose(1, 2).flatten(2))


class Apart(nn.Module):
    """A projection each, as language models write it, keys and values for several queries."""

    def __init__(self, shared=1):
        super().__init__()
        self.query, self.out = nn.Linear(12, 12), nn.Linear(12, 12)
        self.key, self.value = (nn.Linear(12, 12 // shared) for _ in range(2))
        self.num_heads, self.n_kv_heads, self.shared = HEADS, HEADS // shared, shared
        self.all_head_size = 12

    def forward(self, x):
        b, n = x.shape[:2]
        q = self.query(x).view(b, n, self.num_heads, SIZE).transpose(1, 2)
        k, v = (
            layer(x).view(b, n, self.n_kv_heads, SIZE).transpose(1, 2)
            for layer in (self.key, self.value)
        )
        if self.shared > 1:
            k = k[:, :, None].expand(-1, -1, self.shared, -1, -1).flatten(1, 2)
            v = v.repeat_interleave(self.shared, 1)
        seen = ((q @ k.mT) / SIZE**0.5).softmax(-1) @ v
        return self.out(seen.permute(0, 2, 1, 3).contiguous().view(b, n, self.all_head_size))


class Sequences(nn.Module):
    """Time first, and batch and heads one dimension."""

    def __init__(self):
        super().__init__()
        self.inner, self.heads = nn.Linear(12, 36), HEADS
        self.out = nn.Linear(12, 12)

    def forward(self, x):
        x = x.transpose(0, 1)
        n, b = x.shape[:2]
        q, k, v = self.inner(x).chunk(3, -1)
        q, k, v = (
            part.contiguous().view(n, b * self.heads, SIZE).transpose(0, 1) for part in (q, k, v)
        )
        seen = torch.baddbmm(x.new_zeros(1, n, n), q, k.mT).softmax(-1).bmm(v)
        return self.out(seen.transpose(0, 1).reshape(n, b, -1)).transpose(0, 1)


def check(make, x, seed=0):
    return check_selection(make, x, seed=seed, products=macs_of_products)


def sdpa(net, x, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def by_hand(net, x, q, k, v):
    return ((q * SIZE**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


def by_indices(net, x, q, k, v):
    return torch.einsum("bhij,bhjd->bhid", torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1), v)


def cosine(net, x, q, k, v):
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
    return (scores * net.temperature).softmax(-1) @ v


def rotated(net, x, q, k, v):
    place = torch.arange(x.shape[1] * SIZE, dtype=x.dtype).view(-1, SIZE)

    def turned(y):
        return y * place.cos() + torch.cat([-y[..., 1:], y[..., :1]], -1) * place.sin()

    return F.scaled_dot_product_attention(turned(q), turned(k), v)


def relative(net, x, q, k, v):
    n = x.shape[1]
    table = torch.ones(n * n, 2, dtype=x.dtype).cumsum(0)
    bias = net.relative(table).view(n, n, -1).permute(2, 0, 1).contiguous()
    return (q @ k.mT + bias[None].sigmoid()).softmax(-1) @ v


def gated(net, x, q, k, v):
    return sdpa(net, x, q, k, v) * net.gate(x).sigmoid().transpose(1, 2)[..., None]


def normed(net, x, q, k, v):
    return sdpa(net, x, net.norm(q), net.norm(k), v)


def linear(net, x, q, k, v):
    """Without a softmax: keys and values first."""
    return q.relu() @ (k.relu().mT @ v)


WAYS = {
    "sdpa": sdpa, "by hand": by_hand, "by indices": by_indices, "cosine": cosine,
    "rotated": rotated, "relative": relative, "gated": gated, "linear": linear,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("way", WAYS)
def test_heads_of_a_fused_projection(way, seed):
    groups = check(lambda: Fused(WAYS[way]), TOKENS, seed)
    (group,) = [group for group in groups if "qkv" in group.name]
    assert group.size == HEADS
    rows = {(part.name, part.dim): part.units.tolist() for part in group.slices}
    assert rows["qkv", 0] == [head for _ in range(3) for head in range(HEADS) for _ in range(SIZE)]
    assert rows["out", 1] == [head for head in range(HEADS) for _ in range(SIZE)]
    if way in ("relative", "gated"):
        assert rows[{"relative": "relative", "gated": "gate"}[way], 0] == list(range(HEADS))


def test_a_norm_within_heads_has_a_bias_that_zeros_do_not_pass():
    """A masked head's queries are the norm's bias: alike for all keys, so that it sees values 0."""
    check(lambda: Fused(normed), TOKENS)


@pytest.mark.parametrize("shared", [1, 2])
def test_heads_of_a_projection_each(shared):
    groups = check(lambda: Apart(shared), TOKENS)
    assert [(group.name, group.size) for group in groups] == [("query+key+value", HEADS // shared)]


def test_batch_and_heads_as_one_dimension():
    (group,) = check(Sequences, TOKENS)
    assert group.size == HEADS


def test_our_own_block():
    groups = check(lambda: EncoderBlock(12, HEADS, 10), TOKENS)
    assert [group.size for group in groups] == [HEADS, 10]


class Attention(nn.Module):
    """Torch's own module, whose width is free on both sides."""

    def __init__(self, **options):
        super().__init__()
        self.embed, self.head = nn.Linear(12, 12), nn.Linear(12, 3)
        self.attention = nn.MultiheadAttention(12, HEADS, **options)
        self.memory, self.alone = nn.Linear(12, self.attention.kdim), "kdim" not in options

    def forward(self, x):
        x = self.embed(x).relu()
        y = x if self.alone else self.memory(x).relu()
        return self.head(self.attention(x, y, y, need_weights=False)[0])


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"batch_first": True}])
def test_heads_and_width_of_torchs_attention(options):
    groups = check(lambda: Attention(**options), TOKENS)
    assert [(group.name, group.size) for group in groups] == [
        ("embed", 12), ("attention.out_proj", 12), ("attention", HEADS),
    ]  # fmt: skip
    rows = {(part.name, part.tensor, part.dim): part.units.tolist() for part in groups[2].slices}
    of_one = [head for head in range(HEADS) for _ in range(SIZE)]
    assert rows["attention", "in_proj_weight", 0] == of_one * 3
    assert rows["attention.out_proj", "weight", 1] == of_one


def test_torchs_attention_with_projections_apart():
    groups = check(lambda: Attention(kdim=10, vdim=10), TOKENS)
    assert sorted(group.size for group in groups) == [HEADS, 10, 12, 12]


@pytest.mark.parametrize("norm_first", [True, False])
def test_heads_of_torchs_encoder(norm_first):
    def make():
        layer = nn.TransformerEncoderLayer(12, HEADS, 10, 0.0, norm_first=norm_first)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    groups = check(make, TOKENS)
    assert sorted(group.size for group in groups) == [HEADS, HEADS, 10, 10]


def test_heads_stay_where_their_projection_is_not_to_be_pruned():
    model = Attention().double().eval()
    graph = build_graph(model, lambda: model(TOKENS), 2)
    found = graph.groups(find_layers(model))
    assert [group.name for group in found] == ["embed", "attention.out_proj"]


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_torchs_attention_with_keys_of_its_own_stays(option):
    model = Attention(**{option: True}).double().eval()
    graph = build_graph(model, lambda: model(TOKENS), 2)
    assert graph.pinned["embed"] == "MultiheadAttention attention reads or makes them"
    groups = graph.groups(find_layers(model) + attention_layers(model))
    assert [group.name for group in groups] == ["attention.out_proj"]


def test_averaged_attention_weights_keep_all_heads():
    model = Attention().double().eval()
    model.forward = lambda x: model.head(model.attention(x, x, x)[0])
    graph = build_graph(model, lambda: model(TOKENS), 2)
    assert graph.refused(attention_layers(model)) == {"attention": "mean runs over them"}


def shuffled(net, x, q, k, v):
    return sdpa(net, x, q, k, v).transpose(1, 3).reshape(2, HEADS, 4, SIZE)


def one_head_apart(net, x, q, k, v):
    return torch.cat([sdpa(net, x, q, k, v)[:, :1], v[:, 1:]], 1)


def along_channels(net, x, q, k, v):
    return q * k.softmax(1) + v


def told_apart(net, x, q, k, v):
    return sdpa(net, x, q * torch.arange(4.0, dtype=x.dtype).view(4, 1, 1), k, v)


REFUSED = {
    "shuffled": shuffled,
    "joined": lambda net, x, q, k, v: v,
    "softmax over heads": along_channels,
    "told apart": told_apart,
    "norm over heads": lambda net, x, q, k, v: F.layer_norm(v, v.shape[1:]),
    "sorted": lambda net, x, q, k, v: v.flatten(1).sort(1).values.view_as(v),
}


@pytest.mark.parametrize("way", REFUSED)
def test_heads_that_cannot_leave_stay(way):
    model = Fused(REFUSED[way]).double().eval()
    graph = build_graph(model, lambda: model(TOKENS), 2)
    assert "qkv" in graph.pinned
    assert [g for g in graph.groups(find_layers(model)) if "qkv" in g.name] == []


def test_one_of_several_equal_parts_shrinks_only_with_the_others():
    """Parts are stacked in a dimension: each has as many channels as the others."""

    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.head = nn.Linear(3, 20), nn.Linear(10, 2)

        def forward(self, x):
            first, second = self.both(x).view(len(x), 2, -1).unbind(1)
            return self.head(F.silu(first) * second)

    x = torch.randn(4, 3, dtype=torch.float64)
    (group,) = check(Stacked, x)
    assert group.size == 10
    assert group.slices[0].units.tolist() == [*range(10)] * 2

    class Half(Stacked):
        def forward(self, x):
            return self.head(self.both(x).view(len(x), 2, -1)[:, 1])

    (group,) = check(Half, x)
    assert group.slices[0].units.tolist() == [*range(10)] * 2
