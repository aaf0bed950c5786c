"""Thin modules as folders: built again bit for bit, and every mistake in a sentence."""

import copy
import json
import pickle

import pytest
import torch
from nets_factored import Holder, conv_net, sliced_net
from torch import nn

from lightning_prune import prune
from lightning_prune.export import SlimAttention, export_factors, load_thin, save_thin
from lightning_prune.export.folder import read_record
from lightning_prune.models import ResNet
from lightning_prune.thinning import thin

X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
DENSE = {
    "_target_": "lightning_prune.models.ResNet", "depth": 8, "widths": [8, 16, 32], "classes": 10,
}  # fmt: skip


def resnet():
    return ResNet(8, [8, 16, 32], 10)


@pytest.fixture(name="small", scope="module")
def _small():
    torch.manual_seed(1)
    net = resnet()
    net(X)  # running statistics of its own
    prune(net, "filter_norm", 0.5, example=X)
    return thin(net, X).train()


def same(one, other):
    """Whether two modules are equal to the bit, and compute alike."""
    first, second = one.state_dict(), other.state_dict()
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert tensor.shape == second[name].shape, name
        assert torch.equal(tensor, second[name]), name
    kinds = [[type(module) for module in model.modules()] for model in (one, other)]
    assert kinds[0] == kinds[1]


def test_a_thin_network_is_built_again_bit_for_bit(small, tmp_path):
    assert save_thin(small, tmp_path / "thin", example=X) == tmp_path / "thin"
    fresh = resnet()
    dense = sum(p.numel() for p in fresh.parameters())
    built = load_thin(tmp_path / "thin", fresh)
    assert built is fresh
    same(small, built)
    assert repr(small) == repr(built)
    assert sum(p.numel() for p in built.parameters()) < dense
    assert torch.equal(small.eval()(X), built.eval()(X))
    tracked = [t for name, t in built.state_dict().items() if name.endswith("batches_tracked")]
    assert tracked
    assert all(int(count) == 1 for count in tracked)


def test_it_can_be_copied_pickled_and_trained(small, tmp_path):
    built = load_thin(save_thin(small, tmp_path), resnet()).train()
    for other in (copy.deepcopy(built), pickle.loads(pickle.dumps(built))):
        same(built, other)
    again = copy.deepcopy(small).train()
    again.load_state_dict(built.state_dict())
    for model in (again, built):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(X).square().sum().backward()
            optimizer.step()
    same(again, built)


def test_the_config_builds_the_dense_network(small, tmp_path):
    same(small, load_thin(save_thin(small, tmp_path, dense=DENSE)))
    vision = {"_target_": "torchvision.models.squeezenet1_1", "num_classes": 3}
    from hydra.utils import instantiate

    other = instantiate(vision)
    same(other, load_thin(save_thin(other, tmp_path, dense=vision)))


@pytest.mark.parametrize(
    ("dense", "told"),
    [
        (None, "it has no config of the dense network; pass it as module="),
        ({"_target_": "os.system", "command": "true"}, "calls 'os.system', and a file may only"),
        ({"_target_": "timm.models._hub.os.getcwd"}, "calls 'timm.models._hub.os.getcwd'"),
        ({**DENSE, "hook": {"_target_": "builtins.print"}}, "calls 'builtins.print'"),
        ({"_target_": "lightning_prune.models.Nothing"}, "Nothing cannot be found"),
        ({**DENSE, "depth": 9}, "its dense network cannot be built"),
        ({"_target_": "lightning_prune.solve.Solver"}, "its config gives no network"),
        ({"depth": 8}, "its config gives no network"),
    ],
)
def test_a_config_calls_only_what_is_known(dense, told, small, tmp_path):
    save_thin(small, tmp_path, dense=dense)
    with pytest.raises(ValueError, match="cannot be used: .*" + told.replace("(", r"\(")):
        load_thin(tmp_path)


def test_the_meta_device_will_do(small, tmp_path):
    with torch.device("meta"):
        fresh = resnet()
    same(small, load_thin(save_thin(small, tmp_path), fresh))


def test_frozen_parameters_and_the_mode_stay(small, tmp_path):
    save_thin(small, tmp_path)
    built = load_thin(tmp_path, resnet().requires_grad_(False).eval())
    assert not any(p.requires_grad for p in built.parameters())
    assert not any(module.training for module in built.modules())


class Tied(nn.Module):
    """Tied weights, and memory and types of many kinds."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.randn(5, 4).t().bfloat16())
        self.register_buffer("places", torch.arange(6), persistent=False)
        self.register_buffer("view", self.places[1:])
        self.register_buffer("flag", torch.tensor(True))
        self.register_buffer("none", None)
        self.rnn = nn.LSTM(4, 3)


def test_ties_memory_and_types_stay(tmp_path):
    model, fresh = Tied(), Tied()
    model.places += 7
    fresh.head.weight = nn.Parameter(torch.zeros(6, 4))  # not tied
    built = load_thin(save_thin(model, tmp_path), fresh)
    same(model, built)
    assert built.head.weight is built.embed.weight
    assert built.scale.dtype == torch.bfloat16
    assert torch.equal(built.places, model.places)
    assert list(built.state_dict()) == list(model.state_dict())
    x = torch.randn(2, 1, 4)
    assert torch.equal(built.rnn(x)[0], model.rnn(x)[0])


def test_what_the_file_has_apart_is_not_tied(tmp_path):
    model = Tied()
    model.head.weight = nn.Parameter(torch.randn(6, 4))
    built = load_thin(save_thin(model, tmp_path), Tied())
    same(model, built)
    assert built.head.weight is not built.embed.weight


def test_attention_with_fewer_heads(tmp_path):
    def transformer():
        layer = nn.TransformerEncoderLayer(8, 4, 16, batch_first=True)
        return nn.TransformerEncoder(layer, 2).eval()

    model = transformer()
    for layer in model.layers:
        attention = layer.self_attn
        rows = torch.arange(24).view(3, 4, 2)[:, 1:].flatten()
        attention.in_proj_weight = nn.Parameter(attention.in_proj_weight[rows])
        attention.in_proj_bias = nn.Parameter(attention.in_proj_bias[rows])
        attention.out_proj.weight = nn.Parameter(attention.out_proj.weight[:, 2:])
        layer.self_attn = SlimAttention.from_attention(attention, 3)
    model.use_nested_tensor = False
    built = load_thin(save_thin(model, tmp_path), transformer())
    same(model, built)
    x = torch.randn(2, 5, 8)
    assert torch.equal(model(x), built(x))
    assert read_record(tmp_path)["attentions"]["layers.0.self_attn"] == {"heads": 3, "head_dim": 2}


def test_exported_factors_are_built_again(tmp_path):
    small = export_factors(sliced_net())
    x = torch.randn(4, 3, 12, 12)
    built = load_thin(save_thin(small, tmp_path), conv_net())
    same(small, built)
    assert torch.equal(small(x), built(x))
    same(small, load_thin(tmp_path, built))
    alone = export_factors(sliced_net()[5])
    same(alone, load_thin(save_thin(alone, tmp_path), conv_net()[5]))


def test_what_is_noted(small, tmp_path):
    save_thin(small, tmp_path, example={"x": X, "more": (X[0], 3)}, extra={"keep": 0.5})
    record = read_record(tmp_path)
    assert (record["schema"], record["class"], record["extra"]) == (1, "ResNet", {"keep": 0.5})
    assert record["example"]["x"] == {"shape": [3, 3, 16, 16], "dtype": "float32"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "widths.json"]


def test_another_network_is_named(small, tmp_path):
    save_thin(small, tmp_path)
    told = {
        "it is of a ResNet, not of a Sequential": conv_net(),
        "from which it cannot have been cut": ResNet(8, [2, 2, 2], 10),
        "it is of another ResNet: it lacks '": ResNet(14, [8, 16, 32], 10),
    }
    for sentence, module in told.items():
        with pytest.raises(ValueError, match=sentence):
            load_thin(tmp_path, module)
    save_thin(ResNet(14, [8, 16, 32], 10), tmp_path)
    with pytest.raises(ValueError, match=r"another ResNet: it has '.* and \d+ more\.$"):
        load_thin(tmp_path, resnet())


def test_not_strict_what_fits_is_loaded(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    wider = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    last = wider[2].weight
    save_thin(net, tmp_path)
    built = load_thin(tmp_path, wider, strict=False)
    same(net, built[:2])
    assert built[2].weight is last


def test_torn_and_damaged_files(small, tmp_path):
    tensors, widths = tmp_path / "model.safetensors", tmp_path / "widths.json"
    with pytest.raises(FileNotFoundError, match=r"There is no thin module in .* no widths\.json"):
        load_thin(tmp_path, resnet())
    save_thin(small, tmp_path)
    whole, text = tensors.read_bytes(), widths.read_text()
    for content in (b"", whole[:100], whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        tensors.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.safetensors' cannot be used: it is torn"):
            load_thin(tmp_path, resnet())
    tensors.unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_thin(tmp_path, resnet())
    tensors.write_bytes(whole)
    for content in ("", "[]", "{}", "3", text[: len(text) // 2]):
        widths.write_text(content)
        with pytest.raises(ValueError, match=r"widths\.json' cannot be used: it is torn, or of so"):
            load_thin(tmp_path, resnet())
    widths.write_text(text.replace('"groups": 1', '"groups": 2', 1))
    with pytest.raises(ValueError, match=r"widths\.json' cannot be used: it is not what was wri"):
        load_thin(tmp_path, resnet())
    widths.write_text(json.dumps(json.loads(text) | {"schema": 9}))
    with pytest.raises(ValueError, match=r"has schema 9, and this version reads 1; take the ver"):
        load_thin(tmp_path, resnet())
    widths.write_bytes(b"\xff\xfe" + bytes(40))
    with pytest.raises(ValueError, match="it is torn, or of something else"):
        load_thin(tmp_path, resnet())


class Stateful(nn.Linear):
    def get_extra_state(self):
        return 3


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"layer 'net\.0' is factored; save what export_factors"):
        save_thin(Holder(sliced_net()), tmp_path)
    with pytest.raises(ValueError, match=r"^0 \(Stateful\) has state that is no tensor"):
        save_thin(nn.Sequential(Stateful(2, 2)), tmp_path)
    with pytest.raises(ValueError, match=r"^weight has no values in a plain tensor"):
        save_thin(nn.Linear(2, 2, device="meta"), tmp_path)
    with pytest.raises(TypeError, match="numbers, strings, lists and dicts"):
        save_thin(nn.Linear(2, 2), tmp_path, extra={"x": object()})
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save_thin(nn.Linear(2, 2), tmp_path / "file")
    assert not any(tmp_path.glob("*.json"))
