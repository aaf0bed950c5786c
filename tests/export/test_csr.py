"""Sparse linear layers: the same numbers, and only where they are faster."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from lightning_prune import prune
from lightning_prune.export import CSRLinear, csr, to_csr


@pytest.fixture(name="times", autouse=True)
def _times(monkeypatch):
    """What the clock says of dense and sparse, instead of measuring."""
    times = [2.0, 1.0]
    monkeypatch.setattr(csr, "fastest", lambda sides, rounds, device: times)
    return times


def net():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 40), nn.Linear(40, 5))
    prune(made, "magnitude", 0.1)
    return made


def test_a_sparse_layer_is_the_dense_one():
    layer = nn.Linear(9, 7)
    with torch.no_grad():
        layer.weight.mul_(torch.rand(7, 9) < 0.3)
        layer.weight[2] = 0
    sparse = CSRLinear(layer)
    for x in (torch.randn(9), torch.randn(4, 9), torch.randn(2, 3, 9), torch.randn(0, 9)):
        torch.testing.assert_close(sparse(x), layer(x))
    assert len(sparse.values) == int((layer.weight != 0).sum())
    assert {name: t.layout for name, t in sparse.state_dict().items()} == dict.fromkeys(
        ("values", "bias", "crow", "col"), torch.strided
    )
    torch.testing.assert_close(sparse.weight.to_dense(), layer.weight)
    assert CSRLinear(nn.Linear(3, 2, bias=False)).bias is None


def test_it_can_be_copied_pickled_and_loaded():
    sparse = to_csr(model := net()) and model
    x = torch.randn(3, 12)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(sparse)
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    for again in (copy.deepcopy(sparse), pickle.loads(pickle.dumps(sparse)), other):
        assert torch.equal(again(x), sparse(x))


def test_only_what_wins_is_replaced(times):
    model = net()
    x = torch.randn(3, 12)
    expected = model(x)
    rows = to_csr(model, x)
    assert [(row.name, row.speedup, row.replaced) for row in rows] == [
        ("0", 2.0, True),
        ("2", 2.0, True),
        ("3", 2.0, True),
    ]
    assert all(0 < row.density < 0.5 for row in rows)
    assert [type(module) for module in model] == [CSRLinear, nn.ReLU, CSRLinear, CSRLinear]
    torch.testing.assert_close(model(x), expected)
    times[:] = [1.1, 1.0]
    model = net()
    assert not any(row.replaced for row in to_csr(model, x))
    assert not any(isinstance(module, CSRLinear) for module in model.modules())
    assert all(row.replaced for row in to_csr(model, x, threshold=1.05))
    with pytest.raises(ValueError, match="threshold is 1 or more"):
        to_csr(model, x, threshold=0.9)


class Reader(nn.Module):
    """Reads a weight itself."""

    reads_weights = True

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x @ self.inner.weight


class Own(nn.Linear):
    pass


def test_layers_that_are_more_than_their_weights_stay():
    model = nn.ModuleDict(
        {
            "reader": Reader(), "own": Own(4, 4), "dense": nn.Linear(4, 4),
            "bfloat": nn.Linear(4, 4).bfloat16(), "tied": nn.Linear(4, 4), "used": nn.Linear(4, 4),
            "attention": nn.MultiheadAttention(4, 2), "sparse": nn.Linear(4, 4),
        }
    )  # fmt: skip
    model["used"].weight = model["tied"].weight
    with torch.no_grad():
        for name in ("tied", "sparse"):
            model[name].weight[1:] = 0
    rows = to_csr(model)
    assert [row.name for row in rows] == ["dense", "sparse"]
    assert [(row.speedup, row.replaced) for row in rows] == [(None, False), (2.0, True)]


def test_inputs_are_those_of_the_forward(monkeypatch):
    seen = []

    def see(sides, rounds, device):
        seen.append([side().shape for side in sides])
        return [1.0, 1.0]

    monkeypatch.setattr(csr, "fastest", see)
    to_csr(net(), torch.randn(2, 6, 12))
    assert seen[1] == [(2, 6, 40), (2, 6, 40)]
    seen.clear()
    to_csr(net())
    assert seen[1] == [(1, 40), (1, 40)]


def test_an_encoder_of_torch_calls_its_sparse_layers():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    model = nn.TransformerEncoder(layer, 1).eval()
    with torch.no_grad():
        model.layers[0].linear1.weight[4:] = 0
    x = torch.randn(2, 3, 8)
    expected = model(x)
    before = torch.random.get_rng_state()
    assert [row.name for row in to_csr(model, x) if row.replaced] == ["layers.0.linear1"]
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected)


def test_a_large_layer_of_few_weights_is_faster(monkeypatch):
    monkeypatch.undo()
    model = nn.Sequential(nn.Linear(2048, 2048), nn.Linear(64, 64))
    with torch.no_grad():
        model[0].weight.mul_(torch.rand(2048, 2048) < 0.005)
    rows = to_csr(model, threshold=1.2)
    assert rows[0].replaced, rows
    assert rows[1].speedup is None, "there is no zero in it"
