import copy
import itertools

import pytest
import torch
from torch import nn

from lightning_prune.thinning.attention import SlimAttention

HEADS, SIZE, KEPT = 4, 3, [0, 2, 3]


def drawn(seed=0, **options):
    """Torch's attention with random weights, in float64."""
    torch.manual_seed(seed)
    model = nn.MultiheadAttention(HEADS * SIZE, HEADS, dtype=torch.float64, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def rows(kept, parts=1):
    """Rows of the kept heads, of every one of the parts."""
    index = torch.arange(parts * HEADS * SIZE).view(parts, HEADS, SIZE)
    return index[:, kept].flatten()


def masked(model, kept=KEPT):
    """The same with zeros in the place of the other heads."""
    gone = [head for head in range(HEADS) if head not in kept]
    with torch.no_grad():
        for name, parameter in model.named_parameters(recurse=False):
            parameter[rows(gone, 3 if "in_proj" in name else 1)] = 0
        model.out_proj.weight[:, rows(gone)] = 0
    return model


def cut(model, kept=KEPT):
    """The slim one, of parameters that were cut."""
    for name, parameter in [*model.named_parameters(recurse=False)]:
        left = parameter.detach()[rows(kept, 3 if "in_proj" in name else 1)]
        setattr(model, name, nn.Parameter(left))
    model.out_proj.weight = nn.Parameter(model.out_proj.weight.detach()[:, rows(kept)])
    return SlimAttention.from_attention(model, len(kept))


def close(a, b):
    return bool(((a - b).abs().nan_to_num() <= 1e-10).all()) and torch.equal(a.isnan(), b.isnan())


FORMS = {
    "packed": {}, "batch first": {"batch_first": True}, "no bias": {"bias": False},
    "apart": {"kdim": 5, "vdim": 7}, "apart, no bias": {"kdim": 5, "vdim": 7, "bias": False},
}  # fmt: skip
MASKS = {
    "none": lambda batch: {},
    "bool": lambda batch: {"attn_mask": torch.rand(4, 6) > 0.7},
    "float": lambda batch: {"attn_mask": torch.randn(4, 6, dtype=torch.float64)},
    "padding": lambda batch: {"key_padding_mask": torch.rand(*batch, 6) > 0.7},
    "float padding": lambda batch: {"key_padding_mask": torch.randn(*batch, 6).double()},
    "both": lambda batch: {
        "attn_mask": torch.rand(4, 6) > 0.8, "key_padding_mask": torch.rand(*batch, 6) > 0.8,
    },
    "causal": lambda batch: {"attn_mask": torch.ones(4, 6).triu(1).bool(), "is_causal": True},
    "causal padding": lambda batch: {
        "attn_mask": torch.ones(4, 6).triu(1).bool(), "is_causal": True,
        "key_padding_mask": torch.zeros(*batch, 6, dtype=torch.bool).index_fill(
            -1, torch.tensor([5]), True),
    },
}  # fmt: skip


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("form", FORMS)
def test_it_is_torchs_attention_with_masked_heads(form, mask, batch):
    options = FORMS[form]
    dense = masked(drawn(**options))
    slim = cut(drawn(**options))
    shapes = [(4, dense.embed_dim), (6, dense.kdim), (6, dense.vdim)]
    first = options.get("batch_first", False)
    inputs = [
        torch.randn(*(batch if first else ()), n, *(() if first else batch), width).double()
        for n, width in shapes
    ]
    given = MASKS[mask](batch)
    expected, found = dense(*inputs, **given), slim(*inputs, **given)
    assert close(found[0], expected[0])
    apart = {"need_weights": True, "average_attn_weights": False}
    weights = dense(*inputs, **given, **apart)[1].unflatten(-3, (HEADS,))[..., KEPT, :, :]
    assert close(slim(*inputs, **given, **apart)[1], weights)
    assert close(found[1], weights.mean(-3))
    bare = slim(*inputs, **given, need_weights=False)
    assert bare[1] is None
    assert close(bare[0], dense(*inputs, **given, need_weights=False)[0])


@pytest.mark.parametrize("batch", [1, 2])
def test_masks_of_every_head(batch):
    x = torch.randn(5, batch, 12, dtype=torch.float64)
    mask = torch.randn(batch, HEADS, 5, 5, dtype=torch.float64)
    expected = masked(drawn())(x, x, x, attn_mask=mask.flatten(0, 1))[0]
    slim = cut(drawn())
    assert close(slim(x, x, x, attn_mask=mask[:, KEPT].flatten(0, 1))[0], expected)


def test_it_holds_the_very_parameters_and_what_was_hung_on_it():
    model = drawn(dropout=0.25, batch_first=True).train()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    slim = SlimAttention.from_attention(model, HEADS)
    assert slim.in_proj_weight is model.in_proj_weight
    assert slim.out_proj.weight is model.out_proj.weight
    assert slim.state_dict().keys() == model.state_dict().keys()
    assert (slim.training, slim.dropout, slim.batch_first) == (True, 0.25, True)
    assert (slim.embed_dim, slim.num_heads, slim.head_dim) == (12, HEADS, SIZE)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    slim(x, x, x)
    assert calls == [1]
    again = SlimAttention.from_attention(slim, HEADS)
    assert again.in_proj_weight is model.in_proj_weight


def test_dropout_is_of_the_weights_in_training():
    slim = cut(drawn(dropout=0.5)).train()
    x = torch.randn(7, 2, 12, dtype=torch.float64)
    weights = slim(x, x, x, average_attn_weights=False)[1]
    assert 0 < int((weights == 0).sum()) < weights.numel()
    assert not torch.equal(slim(x, x, x, need_weights=False)[0], slim.eval()(x, x, x)[0])


def test_a_new_one_has_the_parameters_of_its_sizes():
    slim = SlimAttention(8, 3, 5)
    shapes = {name: tuple(p.shape) for name, p in slim.named_parameters()}
    assert shapes == {
        "in_proj_weight": (45, 8), "in_proj_bias": (45,), "out_proj.weight": (8, 15),
        "out_proj.bias": (8,),
    }  # fmt: skip
    apart = SlimAttention(8, 3, 5, kdim=2, bias=False)
    assert {tuple(p.shape) for p in apart.parameters()} == {(15, 8), (15, 2), (8, 15)}
    assert slim(*[torch.randn(4, 2, 8)] * 3)[0].shape == (4, 2, 8)


def test_what_it_is_not_for_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        SlimAttention(8, 0, 4)
    with pytest.raises(ValueError, match="12 rows of queries are no 5 heads"):
        SlimAttention.from_attention(drawn(), 5)
    for option in ("add_bias_kv", "add_zero_attn"):
        with pytest.raises(ValueError, match="no slim form"):
            SlimAttention.from_attention(drawn(**{option: True}), HEADS)
    slim, x = cut(drawn()), torch.randn(5, 12, dtype=torch.float64)
    with pytest.raises(ValueError, match="is_causal"):
        slim(x, x, x, is_causal=True)


@pytest.mark.parametrize(
    ("norm_first", "training", "grad"), [*itertools.product([True, False], repeat=3)]
)
def test_it_works_in_torchs_encoder_layer(norm_first, training, grad):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        HEADS * SIZE, HEADS, 16, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64
    ).train(training)
    twin = copy.deepcopy(layer)
    layer.self_attn, twin.self_attn = (
        masked(layer.self_attn, KEPT[:2]), cut(twin.self_attn, KEPT[:2]),
    )  # fmt: skip
    x, padding = torch.randn(2, 5, 12).double(), torch.zeros(2, 5).bool()
    padding[1, 3:] = True
    masks = [{}, {"src_key_padding_mask": padding}]
    masks += [{"src_mask": nn.Transformer.generate_square_subsequent_mask(5), "is_causal": True}]
    with torch.set_grad_enabled(grad):
        for given in masks:
            seen = slice(None, 3) if "src_key_padding_mask" in given else slice(None)
            assert close(twin(x, **given)[:, seen], layer(x, **given)[:, seen])


def test_it_works_in_an_encoder_without_nested_tensors():
    layer = nn.TransformerEncoderLayer(12, 4, 16, 0.0, batch_first=True, dtype=torch.float64)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    twin = copy.deepcopy(model)
    for mine, others in zip(twin.layers, model.layers, strict=True):
        masked(others.self_attn)
        mine.self_attn = cut(mine.self_attn)
    x, padding = (
        torch.randn(2, 5, 12).double(),
        torch.tensor([[False] * 5, [False] * 3 + [True] * 2]),
    )
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=padding)
        assert close(twin(x, src_key_padding_mask=padding)[1, :3], expected[1, :3])


def test_it_works_in_torchvisions_blocks():
    vision = pytest.importorskip("torchvision").models.vision_transformer
    block = vision.EncoderBlock(HEADS, 12, 16, 0.0, 0.0).double().eval()
    twin = copy.deepcopy(block)
    masked(block.self_attention)
    twin.self_attention = cut(twin.self_attention)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    assert close(twin(x), block(x))


def test_exported_program():
    slim, x = cut(drawn(batch_first=True)), torch.randn(2, 5, 12, dtype=torch.float64)
    for given in ({}, {"need_weights": False}):
        program = torch.export.export(slim, (x, x, x), given)
        assert close(program.module()(x, x, x, **given)[0], slim(x, x, x)[0])


@pytest.mark.slow
def test_onnx(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = cut(drawn(batch_first=True)).float()

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    model, x = Self().eval(), torch.randn(2, 5, 12)
    path = tmp_path / "attention.onnx"
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.allclose(torch.from_numpy(found), model(x), atol=1e-5)
