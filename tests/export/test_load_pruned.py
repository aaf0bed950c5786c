"""Checkpoints of factored and dense networks, into modules of either form and without a Trainer."""

import re
import zipfile
from pathlib import Path

import pytest
import torch
from nets_factored import Holder, conv_net, factor, pruned_net, sliced_net
from torch import nn

from lightning_prune.export import load_pruned
from lightning_prune.lowrank import factored, folding_of


@pytest.fixture(autouse=True)
def _no_decomposition(request, monkeypatch):
    """Nets of the tests are made first; what follows runs no decomposition."""
    made = {"pruned": pruned_net(), "sliced": sliced_net(), "dense": conv_net()}
    request.node.made = made

    def refuse(*_, **__):
        raise AssertionError("a decomposition ran")

    for name in ("eigh", "eigvalsh", "svd", "svdvals"):
        monkeypatch.setattr(torch.linalg, name, refuse)


@pytest.fixture
def nets(request):
    return request.node.made


def checkpoint(folder, module, name="a.ckpt"):
    """A file as Lightning writes it."""
    content = {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": module.state_dict(),
        "callbacks": {},
        "optimizer_states": [],
    }
    torch.save(content, folder / name)
    return folder / name


def equal(one, other):
    x = torch.randn(4, 3, 12, 12)
    assert torch.equal(one(x), other(x))
    assert [n for n, _ in factored(one)] == [n for n, _ in factored(other)]
    assert list(one.state_dict()) == list(other.state_dict())


@pytest.mark.parametrize("source", ["pruned", "sliced", "dense"])
@pytest.mark.parametrize("target", ["pruned", "sliced", "dense"])
def test_every_form_into_every_other(nets, source, target, tmp_path):
    source, target = Holder(nets[source]), Holder(nets[target])
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.add_(1)
    assert load_pruned(checkpoint(tmp_path, source), target) is target
    equal(target, source)
    assert all(p.requires_grad for p in target.parameters())


def test_a_plain_state_dict_and_a_path_of_text(nets, tmp_path):
    torch.save(nets["sliced"].state_dict(), tmp_path / "a.pt")
    equal(load_pruned(str(tmp_path / "a.pt"), conv_net()), nets["sliced"])
    torch.save(nets["sliced"].state_dict(), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    equal(load_pruned(tmp_path / "b.pt", conv_net(), map_location="cpu"), nets["sliced"])


def test_mode_and_dtype_stay(nets, tmp_path):
    path = checkpoint(tmp_path, nets["sliced"])
    net = load_pruned(path, conv_net().double().train())
    assert net.training
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert not load_pruned(path, conv_net().eval()).training
    frozen = conv_net().requires_grad_(False)
    assert not any(p.requires_grad for p in load_pruned(path, frozen).parameters())


@pytest.mark.parametrize("depth", [1, 2])
def test_the_network_of_a_module_is_found(nets, depth, tmp_path):
    module = Holder(nets["sliced"])
    for _ in range(depth - 1):
        module = Holder(module)
    module.loss = nn.Linear(3, 3)
    equal(load_pruned(checkpoint(tmp_path, module), conv_net()), nets["sliced"])


def test_a_compiled_network_is_the_same(nets, tmp_path):
    module = Holder(torch.compile(nets["sliced"], backend="eager"))
    path = checkpoint(tmp_path, module)
    equal(load_pruned(path, conv_net()), nets["sliced"])
    equal(load_pruned(path, Holder()).net, nets["sliced"])
    compiled = Holder(torch.compile(conv_net(), backend="eager"))
    load_pruned(checkpoint(tmp_path, Holder(nets["pruned"])), compiled)
    equal(compiled.net._orig_mod, nets["pruned"])


def test_a_bare_layer(tmp_path):
    layer = nn.Linear(6, 4)
    path = checkpoint(tmp_path, layer)
    assert torch.equal(load_pruned(path, nn.Linear(6, 4)).weight, layer.weight)


def test_two_networks_that_fit_are_too_many(nets, tmp_path):
    module = Holder(nets["sliced"])
    module.average = nets["pruned"]
    path = checkpoint(tmp_path, module)
    said = r"has several states of a Sequential: 'average\.', 'net\.'; load the module that holds"
    with pytest.raises(ValueError, match=said):
        load_pruned(path, conv_net())


def test_what_is_missing_or_foreign_is_named(nets, tmp_path):
    path = checkpoint(tmp_path, Holder(nets["sliced"]))
    wider = conv_net().append(nn.Linear(10, 4))
    with pytest.raises(ValueError, match=r"it lacks '11\.weight', '11\.bias' under 'net\.'\.$"):
        load_pruned(path, wider)
    shorter = conv_net()[:-1]
    with pytest.raises(ValueError, match=r"of another Sequential: it has '10\.bias', '10\.param"):
        load_pruned(path, shorter)
    with pytest.raises(ValueError, match=r"it lacks 'weight_ih_l0', .* and 1 more\.$"):
        load_pruned(path, nn.LSTM(3, 3))
    alone = checkpoint(tmp_path, nets["sliced"])
    with pytest.raises(ValueError, match=r"another Holder: it lacks 'net\.0\.weight'"):
        load_pruned(alone, Holder())


def test_not_strict_what_fits_is_loaded(nets, tmp_path):
    path = checkpoint(tmp_path, Holder(nets["sliced"]))
    wider = load_pruned(path, conv_net().append(nn.Linear(10, 4)), strict=False)
    equal(wider[:-1], nets["sliced"])
    equal(load_pruned(path, conv_net()[:-1], strict=False), nets["sliced"][:-1])
    with pytest.raises(ValueError, match="has nothing that a LSTM has"):
        load_pruned(path, nn.LSTM(3, 3), strict=False)


def test_layers_of_other_shapes_are_refused_in_a_sentence(nets, tmp_path):
    path = checkpoint(tmp_path, nets["sliced"])
    other = conv_net()
    other[8] = nn.Linear(95, 32)
    with pytest.raises(ValueError, match=r"layer '8' is another one in the state: factors of"):
        load_pruned(path, other)
    other = conv_net()
    other[1] = nn.BatchNorm2d(11)
    with pytest.raises(ValueError, match=r"of another Sequential: size mismatch for 1\.") as told:
        load_pruned(path, other)
    assert "\n" not in str(told.value)
    assert "Error(s)" not in str(told.value)


def test_half_of_a_pair_is_no_layer(nets, tmp_path):
    state = nets["sliced"].state_dict()
    del state["3.parametrizations.weight.original1"]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"lacks '3\.weight' and has '3\..*original0'\.$"):
        load_pruned(tmp_path / "a.pt", conv_net())


def test_files_that_are_no_checkpoints(nets, tmp_path):
    net = conv_net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint '.*gone\.ckpt'"):
        load_pruned(tmp_path / "gone.ckpt", net)
    with pytest.raises(FileNotFoundError):
        load_pruned(tmp_path, net)
    foreign = {"empty": b"", "text": b"epoch: 3\n" * 100, "zeros": bytes(5000)}
    for name, content in foreign.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}' cannot be used: it is torn, or no check"):
            load_pruned(tmp_path / name, net)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(ValueError, match="zip' cannot be used: it is an archive of something else"):
        load_pruned(tmp_path / "zip", net)
    for content in ([1, 2], {"epoch": 3}, {"state_dict": {}}, {"state_dict": 3}, torch.zeros(3)):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=r"other\.pt' cannot be used: it holds no state of a"):
            load_pruned(tmp_path / "other.pt", net)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_torn_files_and_changed_weights(nets, tmp_path):
    path = checkpoint(tmp_path, nets["sliced"])
    whole = path.read_bytes()
    for length in (0, 300, 5000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.ckpt' cannot be used: it"):
            load_pruned(path, conv_net())
    place = whole.index(nets["sliced"][10].bias.detach().numpy().tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"cannot be used: its part .*data/.* is not what was"):
        load_pruned(path, conv_net())
    torch.serialization.set_crc32_options(False)
    try:
        checkpoint(tmp_path, nets["sliced"])
    finally:
        torch.serialization.set_crc32_options(True)
    equal(load_pruned(path, conv_net()), nets["sliced"])


class Code:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_code_is_executed_from_a_file(nets, tmp_path):
    mark = tmp_path / "executed"
    torch.save({"state_dict": nets["dense"].state_dict(), "more": Code(mark)}, tmp_path / "a.ckpt")
    said = re.escape("it holds more than is loaded safely (UnpicklingError); where you trust it")
    with pytest.raises(ValueError, match=said):
        load_pruned(tmp_path / "a.ckpt", conv_net())
    assert not mark.exists()


def test_a_layer_of_another_number_of_slices(monkeypatch, tmp_path):
    monkeypatch.undo()
    for scheme, slices in ((0, 2), (3, 4), (1, 1)):
        layer = factor(nn.Conv2d(4, 6, 3), scheme, slices, 1)
        fresh = factor(nn.Conv2d(4, 6, 3), 2, 2, 3)
        load_pruned(checkpoint(tmp_path, layer), fresh)
        assert folding_of(fresh) == folding_of(layer)
        assert torch.equal(fresh.weight, layer.weight)
