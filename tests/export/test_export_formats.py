"""Exported networks go where plain ones go: graphs, ONNX, the compiler, machines without us."""

import subprocess
import sys

import pytest
import torch
from nets_factored import conv_net, factor, pruned_net, sliced_net
from torch import nn

from lightning_prune.export import export_factors

NETS = [pruned_net, sliced_net]


@pytest.fixture(name="x")
def _x():
    return torch.randn(4, 3, 12, 12)


@pytest.mark.parametrize("net", NETS)
def test_torch_export(net, x, tmp_path):
    small = export_factors(net())
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(small, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x), small(x))
    torch.export.save(program, tmp_path / "small.pt2")
    other = torch.randn(7, 3, 12, 12)
    torch.testing.assert_close(
        torch.export.load(tmp_path / "small.pt2").module()(other), small(other)
    )


@pytest.mark.parametrize("net", NETS)
def test_onnx(net, x, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    small = export_factors(net())
    path = tmp_path / "small.onnx"
    torch.onnx.export(small, (x,), path, dynamo=True, verbose=False)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())
    (found,) = session.run(None, {name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), small(x), rtol=1e-4, atol=1e-5)
    assert path.stat().st_size < sum(4 * p.numel() for p in conv_net().parameters())


@pytest.mark.parametrize("net", NETS)
def test_one_graph_for_the_compiler(net, x):
    small = export_factors(net())
    compiled = torch.compile(small, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), small(x))


@pytest.mark.slow
def test_it_is_loaded_where_we_are_not(x, tmp_path):
    net = conv_net()
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            factor(layer, 0, 1, 3)
    small = export_factors(net)
    torch.save(small, tmp_path / "small.pt")
    torch.save((x, small(x)), tmp_path / "seen.pt")
    code = (
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "sys.modules['lightning_prune'] = None\n"
        "small = torch.load('small.pt', weights_only=False)\n"
        "x, expected = torch.load('seen.pt')\n"
        "torch.testing.assert_close(small(x), expected)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
