"""Heads that are zero leave attentions of every make; where they cannot, it is said why."""

from __future__ import annotations

import copy
import pickle
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from thin import params, random_state
from torch import nn

from lightning_prune import thin
from lightning_prune.models import TextEncoder, ViT
from lightning_prune.network.heads import attention_layers
from lightning_prune.network.network import Network
from lightning_prune.structures import Filters
from lightning_prune.thinning import thin_out
from lightning_prune.thinning.attention import SlimAttention

# torch has no nested tensors for some of the encoders, and a word on those of others
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]

WIDTH, HEADS, SIZE = 12, 4, 3
DRAW = torch.Generator().manual_seed(1)
TOKENS = torch.randn(2, 5, WIDTH, generator=DRAW, dtype=torch.float64)
IMAGES = torch.randn(2, 3, 8, 8, generator=DRAW, dtype=torch.float64)
LARGE = torch.randn(2, 3, 32, 32, generator=DRAW, dtype=torch.float64)
IDS = torch.tensor([[1, 2, 3, 4, 0], [3, 1, 4, 2, 5]])


class Attention(nn.Module):
    """Torch's own module between linear layers."""

    def __init__(self, weights=False, **options):
        super().__init__()
        self.embed, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, **options)
        self.memory = nn.Linear(WIDTH, self.attention.kdim) if "kdim" in options else None
        self.weights = weights

    def forward(self, x):
        x = self.embed(x).relu()
        y = x if self.memory is None else self.memory(x).relu()
        seen, weights = self.attention(x, y, y, need_weights=self.weights)
        return (self.head(seen), weights) if self.weights else self.head(seen)


class Causal(nn.Module):
    """A block as nanoGPT has it; or one whose forward takes any number of heads."""

    def __init__(self, follows):
        super().__init__()
        self.n_head, self.n_embd, self.follows = HEADS, WIDTH, follows
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.c_fc, self.out = nn.Linear(WIDTH, 10), nn.Linear(10, WIDTH)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.c_attn(self.ln_1(x))
        if self.follows:
            parts = [part.view(b, t, self.n_head, -1) for part in qkv.chunk(3, -1)]
        else:
            parts = [
                part.view(b, t, self.n_head, c // self.n_head)
                for part in qkv.split(self.n_embd, dim=2)
            ]
        q, k, v = (part.transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).contiguous()
        x = x + self.c_proj(y.view(b, t, -1 if self.follows else c))
        return x + self.out(F.gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    """A language model whose logits are made by the embedding's own weight."""

    def __init__(self, follows=True):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(7, WIDTH), nn.Embedding(5, WIDTH)
        self.h = nn.ModuleList(Causal(follows) for _ in range(2))
        self.lm_head = nn.Linear(WIDTH, 7, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(x)


class Padded(nn.Module):
    """An encoder that is told which tokens are none; what it says of them does not count."""

    def __init__(self, nested):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 10, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)

    def forward(self, x, padding):
        return self.encoder(x, src_key_padding_mask=padding) * ~padding[..., None]


def encoder(layers, nested=False, dropout=0.0, **options):
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 10, dropout, **options)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=nested) if layers else layer


def torchvisions():
    vision = pytest.importorskip("torchvision", reason="torchvision is not installed").models
    return vision.vision_transformer.VisionTransformer(8, 4, 2, HEADS, WIDTH, 10, num_classes=3)


def timms():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5)


NETS = {
    "attention": (Attention, TOKENS),
    "attention, no bias": (lambda: Attention(bias=False), TOKENS),
    "attention, batch first": (lambda: Attention(batch_first=True), TOKENS),
    "attention, apart": (lambda: Attention(kdim=10, vdim=10), TOKENS),
    "attention, apart, no bias": (lambda: Attention(kdim=10, vdim=10, bias=False), TOKENS),
    **{
        f"{'encoder' if layers else 'layer'}, norm {'first' if norm else 'last'}, "
        f"{'batch' if batch else 'length'} first{', nested' if nested else ''}": (
            lambda layers=layers, norm=norm, batch=batch, nested=nested: encoder(
                layers, nested, norm_first=norm, batch_first=batch
            ),
            TOKENS,
        )
        for layers in (0, 2)
        for norm in (False, True)
        for batch in (False, True)
        for nested in ((False, True) if layers else (False,))
    },
    "our ViT": (lambda: ViT(8, 4, 3, 3, WIDTH, 2, HEADS, 10), IMAGES),
    "our text encoder": (lambda: TextEncoder(7, 3, 6, WIDTH, 2, HEADS, 10), IDS),
    "our text classifier": (
        lambda: TextEncoder(7, 3, 6, WIDTH, 2, HEADS, 10, outputs="sequence"), IDS,
    ),
    "GPT": (GPT, IDS),
    "torchvision's ViT": (torchvisions, IMAGES),
    "timm's ViT": (timms, LARGE),
}  # fmt: skip


def masked(name_or_make, x=None):
    """A network without every second unit and head, and what is left of its parameters."""
    make, x = NETS[name_or_make] if x is None else (name_or_make, x)
    args = x if isinstance(x, tuple) else (x,)
    net = random_state(make())
    network = Network(net, None, lambda: net(*args), len(args[0]))
    groups = network.graph().groups([*network.layers, *attention_layers(net)])
    gains = {group: (torch.arange(group.size) % 2 == 0).float() for group in groups}
    full = {group: torch.ones(group.size) for group in groups}
    structure = Filters()
    spared = structure.cost(full, "params") - structure.cost(gains, "params")
    for group, gain in gains.items():
        structure.write(group, gain)
    return net, x, params(net) - spared, gains


def heads_of(net):
    """The numbers of heads in the modules that split them; torchvision's blocks hold one, too."""
    names = ("num_heads", "heads", "n_head")
    modules = [
        m for m in net.modules() if type(m).__name__ != "EncoderBlock" or hasattr(m, "heads")
    ]
    found = [getattr(module, name, None) for module in modules for name in names]
    return [count for count in found if isinstance(count, int)]


def thin_told(net, x):
    """What was done, after a look at its warnings: one for every layer that it names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = thin_out(net, x)
    told = [str(w.message) for w in caught if "keeps filters" in str(w.message)]
    assert told == [f"{n} keeps filters that are zero: {why}" for n, why in done.stays.items()]
    return done


def other(x):
    return x.flip(1) if x.dtype == torch.int64 else x * 1.5 + 0.2


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    return True


@pytest.mark.parametrize("name", NETS)
def test_heads_leave_and_the_rest_computes_the_same(name):
    net, x, left, gains = masked(name)
    done = thin_out(net, x)
    small = done.model
    assert done.stays == {}
    assert done.units == sum(int((gain == 0).sum()) for gain in gains.values())
    assert params(small) == left < params(net)
    before, after = heads_of(net), heads_of(small)
    assert before
    assert after == [(count + 1) // 2 for count in before]
    for training in (False, True):
        for given in (x, other(x)):
            expected = net.train(training)(given)
            assert close(small.train(training)(given), expected)
            assert not torch.allclose(expected[0], expected[1])
    net.eval(), small.eval()
    with torch.no_grad():  # torch's fast path
        assert close(small(x), net(x))


@pytest.mark.parametrize("name", NETS)
def test_a_thin_one_is_copied_and_trained(name):
    net, x, *_ = masked(name)
    small = thin(net, x)
    expected = small(x).detach()
    for twin in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(twin(x), expected)
        assert heads_of(twin) == heads_of(small)
    small.train()
    before = {key: parameter.detach().clone() for key, parameter in small.named_parameters()}
    optimizer = torch.optim.Adam(small.parameters(), 1e-2)
    (small(x) * torch.linspace(0, 1, expected.shape[-1]).to(expected)).square().mean().backward()
    optimizer.step()
    still = [key for key, p in small.named_parameters() if torch.equal(p, before[key])]
    # what is added to all keys alike changes no weight
    assert [key for key in still if not key.endswith("key.bias")] == []


def rows(*heads, parts=1):
    index = torch.arange(parts * WIDTH).view(parts, HEADS, SIZE)
    return index[:, list(heads)].flatten()


def zero_heads(attention, *heads, columns=True):
    """As a user writes it: queries, keys, values and biases, and what reads them."""
    with torch.no_grad():
        for name, parameter in attention.named_parameters(recurse=False):
            parameter[rows(*heads, parts=3 if "in_proj" in name else 1)] = 0
        if columns:
            attention.out_proj.weight[:, rows(*heads)] = 0


FORMS = pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 10, "vdim": 10}])


@FORMS
def test_heads_that_were_masked_by_hand(options):
    net = random_state(Attention(**options))
    zero_heads(net.attention, 1, 2)
    small = thin(net, TOKENS)
    assert isinstance(small.attention, SlimAttention)
    assert (small.attention.num_heads, small.attention.head_dim) == (2, SIZE)
    assert small.attention.out_proj.weight.shape == (WIDTH, 2 * SIZE)
    assert close(small(TOKENS), net(TOKENS))


@FORMS
def test_what_torchs_attention_hands_its_own_output_is_not_seen(options):
    """It does not call `out_proj` but reads it, so that columns have to be zero, too."""
    net = random_state(Attention(**options))
    zero_heads(net.attention, 1, 2, columns=False)
    why = "what it passes on is no constant where attention.out_proj reads it"
    with pytest.raises(ValueError, match=rf"can be removed \(attention: {why}\)"):
        thin(net, TOKENS)


def test_heads_that_nobody_reads():
    net = random_state(Attention())
    with torch.no_grad():
        net.attention.out_proj.weight[:, rows(0, 3)] = 0
    small = thin(net, TOKENS)
    assert small.attention.num_heads == 2
    assert close(small(TOKENS), net(TOKENS))


def test_the_last_head_stays():
    net = random_state(Attention())
    zero_heads(net.attention, *range(HEADS))
    small = thin(net, TOKENS)
    assert small.attention.num_heads == 1
    assert close(small(TOKENS), net(TOKENS))


@pytest.mark.parametrize("part", ["inputs", "outputs"])
@FORMS
def test_widths_alone(options, part):
    """The inputs or the outputs of an attention leave, and all of its heads stay."""
    net = random_state(Attention(**options))
    read = net.attention.q_proj_weight if "kdim" in options else net.attention.in_proj_weight
    with torch.no_grad():
        if part == "inputs":
            net.embed.weight[:2], net.embed.bias[:2], read[:, :2] = 0, 0, 0
            if net.memory is not None:
                net.memory.weight[:, :2] = 0
        else:
            net.attention.out_proj.weight[:2], net.head.weight[:, :2] = 0, 0
    small = thin(net, TOKENS)
    assert heads_of(small) == [HEADS]
    assert small.embed.out_features == (WIDTH - 2 if part == "inputs" else WIDTH)
    assert small.head.in_features == (WIDTH - 2 if part == "outputs" else WIDTH)
    assert close(small(TOKENS), net(TOKENS))


@pytest.mark.parametrize("nested", [False, True])
def test_dropout_and_modes(nested):
    """In evaluation nothing is drawn; training draws, and the mode stays."""
    net, x, *_ = masked(lambda: encoder(2, nested, 0.5, batch_first=True), TOKENS)
    small = thin(net.train(), x)
    assert small.training
    assert not torch.equal(small(x), small(x))
    assert close(small.eval()(x), net.eval()(x))


def test_only_outputs_leave_an_attention_that_adds_keys_of_its_own():
    for option in ("add_bias_kv", "add_zero_attn"):
        net, x, left, gains = masked(lambda option=option: Attention(**{option: True}), TOKENS)
        assert [group.name for group in gains] == ["attention.out_proj"]
        small = thin(net, x)
        assert params(small) == left
        assert type(small.attention) is nn.MultiheadAttention
        assert small.attention.out_proj.weight.shape == (WIDTH // 2, WIDTH)
        assert close(small(x), net(x))
        with torch.no_grad():
            assert close(small(x), net(x))


def test_averaged_weights_keep_all_heads():
    net = random_state(Attention(True))
    zero_heads(net.attention, 1, 2)
    with torch.no_grad():  # and something that can leave
        net.embed.weight[0], net.embed.bias[0], net.attention.in_proj_weight[:, 0] = 0, 0, 0
    done = thin_told(net, TOKENS)
    assert done.stays == {"attention": "mean runs over them"}
    assert done.model.embed.out_features == WIDTH - 1
    assert done.model.attention.num_heads == HEADS
    for found, expected in zip(done.model(TOKENS), net(TOKENS), strict=True):
        assert close(found, expected)


def test_keys_of_its_own_keep_all_heads():
    net = random_state(Attention(add_zero_attn=True))
    zero_heads(net.attention, 1, 2)
    with pytest.raises(ValueError, match=r"can be removed \(attention: .*attention reads or makes"):
        thin(net, TOKENS)


def test_a_forward_that_splits_by_its_width_keeps_its_heads():
    """nanoGPT's own: `split(self.n_embd)`, and heads of the width over their number."""
    net, x, left, _ = masked(lambda: GPT(False), IDS)
    done = thin_told(net, x)
    assert sorted(done.stays) == ["h.0.c_attn", "h.1.c_attn"]
    why = r"the forward of h\.[01] does not follow its width \(RuntimeError: "
    assert all(re.match(why, told) for told in done.stays.values())
    assert heads_of(done.model) == [HEADS] * 2
    assert [block.c_fc.out_features for block in done.model.h] == [5, 5]
    assert left < params(done.model) < params(net)
    assert close(done.model(x), net(x))


@pytest.mark.parametrize("nested", [False, True])
def test_padded_texts(nested):
    """Padding is spread over heads as a tensor of no layer: they stay, and it is said."""
    net = random_state(Padded(nested))
    for layer in net.encoder.layers:
        zero_heads(layer.self_attn, 0, 2)
        with torch.no_grad():
            layer.linear1.weight[:3], layer.linear1.bias[:3] = 0, 0
            layer.linear2.weight[:, :3] = 0
    padding = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
    done = thin_told(net, (TOKENS, padding))
    small = done.model
    assert sorted(done.stays) == [f"encoder.layers.{i}.self_attn" for i in range(2)]
    assert set(done.stays.values()) == {"add mixes them with channels that no layer made"}
    assert [layer.linear1.out_features for layer in small.encoder.layers] == [7, 7]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert close(small(TOKENS, padding), net(TOKENS, padding))


@FORMS
def test_an_attention_can_be_thinned_again(options):
    net = random_state(Attention(**options))
    zero_heads(net.attention, 1)
    small = thin(net, TOKENS)
    with torch.no_grad():
        small.attention.out_proj.weight[:, :SIZE] = 0
    smaller = thin(small, TOKENS)
    assert smaller.attention.num_heads == HEADS - 2
    assert close(smaller(TOKENS), small(TOKENS))
