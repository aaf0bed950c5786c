"""Models as programs: the same numbers at any batch size, on machines without this package."""

import subprocess
import sys

import pytest
import torch
from nets_factored import sliced_net
from torch import nn

from lightning_prune import prune
from lightning_prune.export import export_factors, export_program
from lightning_prune.models import ResNet
from lightning_prune.thinning import thin

X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def small_resnet():
    torch.manual_seed(1)
    net = ResNet(8, [8, 16, 32], 10, shortcut="B")
    prune(net, "filter_norm", 0.5, example=X)
    return thin(net, X)


@pytest.mark.slow
def test_a_thin_resnet_runs_where_we_are_not(tmp_path):
    net = small_resnet().train()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = export_program(net, X[:1], tmp_path / "a" / "net.pt2")
    assert found.error < 1e-6
    assert (found.checked, found.opset, found.note) == (True, None, "")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["net.pt2"]
    assert found.bytes == found.path.stat().st_size
    assert net.training
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    x = torch.randn(5, 3, 16, 16)
    torch.save((x, net.eval()(x).detach()), tmp_path / "seen.pt")
    code = (
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "sys.modules['lightning_prune'] = None\n"
        "net = torch.export.load('a/net.pt2').module()\n"
        "x, expected = torch.load('seen.pt', weights_only=True)\n"
        "torch.testing.assert_close(net(x), expected)\n"
        "torch.testing.assert_close(net(x[:1]), expected[:1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Two(nn.Module):
    """Several inputs, several outputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, first, second=None):
        out = self.linear(first)
        return {"sum": out + second, "parts": (out, second)}


@pytest.mark.slow
def test_several_inputs(tmp_path):
    x, y = torch.randn(5, 4), torch.randn(5, 3)
    for example in ((x, y), {"second": y, "first": x}):
        assert export_program(Two(), example, tmp_path / "two.pt2").error < 1e-6


def test_factors_and_a_fixed_batch(tmp_path):
    net = export_factors(sliced_net())
    x = torch.randn(2, 3, 12, 12)
    found = export_program(net, x, tmp_path / "net.pt2", dynamic_batch=False, check=False)
    assert (found.checked, found.note) == (False, "not asked for")
    torch.testing.assert_close(torch.export.load(found.path).module()(x), net(x))


class Python(nn.Linear):
    """Its forward depends on numbers, of which no graph can be made."""

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x[:, :2]


class Noisy(nn.Linear):
    """No two calls are alike."""

    calls = 0

    def forward(self, x):
        Noisy.calls += 1
        return super().forward(x) * Noisy.calls


def test_what_cannot_be_exported_is_said_in_a_sentence(tmp_path):
    x = torch.randn(5, 3)
    told = r"^Torch cannot export this Python as a program \(.*\); dynamic_batch=False may do\.$"
    with pytest.raises(ValueError, match=told) as error:
        export_program(Python(3, 2), x, tmp_path / "net.pt2")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"program differs from the model by .* so it was not kep"):
        export_program(Noisy(3, 2), x, tmp_path / "net.pt2")
    with pytest.raises(ValueError, match=r"ends in \.pt2, unlike '.*net\.pt'"):
        export_program(nn.Linear(3, 2), x, tmp_path / "net.pt")
    assert not any(tmp_path.iterdir())
