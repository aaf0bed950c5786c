"""Models as ONNX: the same numbers at any batch size, and a sentence where that cannot be."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from nets_factored import conv_net, sliced_net
from torch import nn

from lightning_prune import prune
from lightning_prune.export import export_factors, export_onnx, onnx_runner
from lightning_prune.models import ResNet
from lightning_prune.thinning import thin

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f"{name} is not installed")

pytestmark = pytest.mark.slow
X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def small_resnet():
    torch.manual_seed(1)
    net = ResNet(8, [8, 16, 32], 10, shortcut="B")
    prune(net, "filter_norm", 0.5, example=X)
    return thin(net, X)


class Two(nn.Module):
    """Several inputs, several outputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, first, second=None, scale=None):
        out = self.linear(first) * scale
        return {"sum": out + second, "out": out}


def test_a_thin_resnet_at_every_batch_size(tmp_path):
    import onnx

    net = small_resnet().train()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = export_onnx(net, X[:1], tmp_path / "a" / "net.onnx")
    assert found.checked
    assert (found.error < 1e-5, found.note, found.opset >= 18) == (True, "", True)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["net.onnx"]
    assert found.bytes == found.path.stat().st_size
    assert net.training
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    graph = onnx.load(found.path).graph
    assert [entry.name for entry in graph.input] == ["images"]
    assert [entry.name for entry in graph.output] == ["output"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    run, net = onnx_runner(found.path), net.eval()
    for size in (1, 2, 7):
        x = torch.randn(size, 3, 16, 16)
        torch.testing.assert_close(run(x)[0], net(x), rtol=1e-4, atol=1e-4)


def test_it_runs_where_we_and_torch_are_not(tmp_path):
    net = small_resnet()
    export_onnx(net, X, tmp_path / "net.onnx")
    import numpy as np

    np.savez(tmp_path / "seen.npz", x=X.numpy(), y=net.eval()(X).detach().numpy())
    code = (
        "import sys\n"
        "sys.modules['lightning_prune'] = sys.modules['torch'] = None\n"
        "import numpy as np, onnxruntime\n"
        "seen = np.load('seen.npz')\n"
        "run = onnxruntime.InferenceSession('net.onnx', providers=['CPUExecutionProvider']).run\n"
        "np.testing.assert_allclose(run(None, {'images': seen['x']})[0], seen['y'], 1e-3, 1e-4)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("named", [False, True])
def test_several_inputs_and_outputs(named, tmp_path):
    x, y, scale = torch.randn(5, 4), torch.randn(5, 3), torch.tensor([1.0, 2.0, 3.0])
    example = {"first": x, "scale": scale, "second": y} if named else (x, y, scale)
    found = export_onnx(Two(), example, tmp_path / "two.onnx")
    assert found.error < 1e-6
    import onnx

    graph = onnx.load(found.path).graph
    assert {entry.name for entry in graph.input} == {"first", "second", "scale"}
    assert [entry.name for entry in graph.output] == ["sum", "out"]


def test_factors_and_a_fixed_batch(tmp_path):
    net = export_factors(sliced_net())
    x = torch.randn(2, 3, 12, 12)
    found = export_onnx(net, x, tmp_path / "net.onnx", dynamic_batch=False, opset=20)
    assert (found.opset, found.checked) == (20, True)
    with pytest.raises(Exception, match=r"(?i)invalid.*dim"):
        onnx_runner(found.path)(torch.randn(3, 3, 12, 12))


class Fixed(nn.Linear):
    """Its forward is written for so many samples."""

    def forward(self, x):
        return super().forward(x).reshape(5, 2)


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
    told = r"^Torch cannot export this Python to ONNX \(.*\); dynamic_batch=False may do\.$"
    with pytest.raises(ValueError, match=told) as error:
        export_onnx(Python(3, 2), x, tmp_path / "net.onnx")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="forward of this Fixed fixes the number of samples of x"):
        export_onnx(Fixed(3, 2), x, tmp_path / "net.onnx")
    assert export_onnx(Fixed(3, 2), x, tmp_path / "b.onnx", dynamic_batch=False).checked
    with pytest.raises(ValueError, match=r"ONNX file differs from the model by .* so it was not"):
        export_onnx(Noisy(3, 2), x, tmp_path / "net.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["b.onnx"]


def test_missing_packages(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    gone = {"onnxruntime"}
    module = sys.modules["lightning_prune.export.onnx"]
    monkeypatch.setattr(module, "find_spec", lambda name: None if name in gone else find(name))
    x = torch.randn(2, 3, 12, 12)
    found = export_onnx(conv_net(), x, tmp_path / "net.onnx")
    assert not found.checked
    assert "onnxruntime is not installed" in found.note
    gone.add("onnxscript")
    with pytest.raises(ImportError, match=r"needs onnxscript: pip install 'lightning-prune\[onnx"):
        export_onnx(conv_net(), x, tmp_path / "net.onnx")
