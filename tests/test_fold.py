"""Constants of units that leave, in the biases of what reads them."""

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import LayerFilter, Method, OneShot, Pruning, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import Magnitude
from lightning_prune.structures import Weights

CLEAN = Method(Magnitude(), Weights(clean=True), Threshold())


def chain(**options):
    """Its second filter has the smallest weights, a norm and a bias of its own: a constant."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Softplus(), nn.Conv2d(3, 4, 3, **options),
        nn.Flatten(), nn.LazyLinear(2),
    ).double().eval()  # fmt: skip
    model(torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    model[0].weight.data.uniform_(1, 2)
    model[0].weight.data[1] *= 1e-4
    model[3].weight.data.uniform_(1, 2)
    model[5].weight.data.uniform_(1, 2)
    model[1].running_mean.uniform_(-1, 1)
    model[1].bias.data.uniform_(0.5, 1)
    return model


def lesser(model):
    """The same network without the small weights, everything else in place."""
    for parameter in (model[0].weight,):
        parameter.data[1] = 0
    return model


def keep_without_the_filter(model):
    """What a budget is that only the second filter and what lies on it exceed."""
    total = sum(p.numel() for p in model.parameters())
    lone = 18 + 1 + 2 + model[3].weight[:, 1].numel()  # weights, bias, norm, readers' columns
    return (total - lone + 0.5) / total


def test_a_norm_and_an_activation_become_a_bias():
    """The reader's bias grows by the sum of its kernel times softplus of what the norm passes."""
    model = chain()
    bias, columns = model[3].bias.detach().clone(), model[3].weight[:, 1].detach().clone()
    norm = model[1]
    passed = (
        norm.bias[1]
        + norm.weight[1]
        * (model[0].bias[1] - norm.running_mean[1])
        / (norm.running_var[1] + norm.eps).sqrt()
    )
    x = torch.randn(5, 2, 8, 8, dtype=torch.float64)
    wanted = lesser(chain())(x)
    report = prune(model, CLEAN, keep_without_the_filter(model), example=x)
    assert model[0].weight[1].count_nonzero() == model[1].bias[1] == model[0].bias[1] == 0
    grown = model[3].bias - bias
    assert torch.allclose(grown, columns.sum((1, 2)) * F.softplus(passed), rtol=1e-12)
    assert torch.allclose(model(x), wanted, rtol=1e-10)
    assert not any("is lost" in note for note in report.notes)


@pytest.mark.parametrize("options", [{"padding": 1, "padding_mode": "reflect"}, {"dilation": 2}])
def test_a_constant_stays_one_without_zeros_around_it(options):
    model, x = chain(**options), torch.randn(5, 2, 8, 8, dtype=torch.float64)
    wanted = lesser(chain(**options))(x)
    prune(model, CLEAN, keep_without_the_filter(model), example=x)
    assert torch.allclose(model(x), wanted, rtol=1e-10)


@pytest.mark.parametrize("options", [{"padding": 1}, {"bias": False}])
def test_what_cannot_be_folded_is_said_to_be_lost(options):
    model, x = chain(**options), torch.randn(5, 2, 8, 8, dtype=torch.float64)
    bias = None if model[3].bias is None else model[3].bias.detach().clone()
    report = prune(model, CLEAN, keep_without_the_filter(model), example=x)
    assert any("1 units without input" in note and "is lost" in note for note in report.notes)
    assert bias is None or torch.equal(model[3].bias, bias)


def test_a_zero_is_nothing_to_lose():
    """Behind a rectifier the unit passes nothing on, and padding does no harm."""
    model, x = chain(padding=1), torch.randn(5, 2, 8, 8, dtype=torch.float64)
    model[2] = nn.ReLU()
    model[1].bias.data[1] = -9
    report = prune(model, CLEAN, keep_without_the_filter(model), example=x)
    assert not any("is lost" in note for note in report.notes)


@pytest.mark.parametrize(("method", "layers"), [("filter_norm", "0"), ("channel_norm", ["0", "3"])])
def test_a_filter_without_weights_leaves_its_constant_behind(method, layers):
    """Its weights are zero since an earlier event, and it is the first to leave."""
    model, x = lesser(chain()), torch.randn(5, 2, 8, 8, dtype=torch.float64)
    model[3].weight.data[:, 1] *= 0.1
    wanted, keep = model(x), keep_without_the_filter(model)
    prune(model, method, keep, example=x, layers=LayerFilter(include=layers))
    assert model[1].bias[1] == 0
    assert model[3].weight[:, 1].count_nonzero() == 0
    assert all(model[1].bias[[0, 2]] != 0)
    assert torch.allclose(model(x), wanted, rtol=1e-10)


def test_a_filter_with_weights_leaves_nothing_behind():
    """One sample is the same for all samples there are, and says nothing of a constant."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    bias = model[2].bias.detach().clone()
    prune(model, "filter_norm", 0.6, example=torch.rand(1, 3, dtype=torch.float64))
    assert torch.equal(model[2].bias, bias)


def test_constants_that_feed_constants():
    """Two layers of one dead unit each: the second's constant holds the first's."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)
    ).double()
    for layer in model[::2]:
        layer.weight.data.uniform_(1, 2)
    with torch.no_grad():
        model[0].weight[2] *= 1e-3
        model[2].weight[4] *= 1e-3
        model[2].weight[4, 2] = 1.0  # all that the second dead unit reads is the first
        x = torch.randn(9, 3, dtype=torch.float64)
        plain = nn.Sequential(*[nn.Linear(a, b) for a, b in ((3, 6), (6, 6), (6, 2))]).double()
        del plain
        left = [p.clone() for p in model.parameters()]
        left[0][2] = 0
        left[2][4] = 0
        left[2][4, 2] = 1.0
        hidden = torch.tanh(x @ left[0].T + left[1])
        hidden = torch.tanh(hidden @ left[2].T + left[3])
        wanted = hidden @ left[4].T + left[5]
        total = sum(p.numel() for p in model.parameters())
        gone = (3 + 1 + 6) + (5 + 1 + 2)  # rows, biases and columns; one entry counts once
        prune(model, CLEAN, (total - gone + 0.5) / total, example=x)
    assert model[2].weight[4].count_nonzero() == 0
    assert model[0].bias[2] == model[2].bias[4] == 0
    assert torch.allclose(model(x), wanted, rtol=1e-12)


def test_only_clean_weights_fold():
    model, x = chain(), torch.randn(5, 2, 8, 8, dtype=torch.float64)
    bias = model[3].bias.detach().clone()
    prune(model, "magnitude", 0.9, example=x)
    assert torch.equal(model[3].bias, bias)


class Lit(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = chain().train()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_a_trainer_folds_at_the_event():
    module, x = Lit(), torch.randn(16, 2, 8, 8, dtype=torch.float64)
    wanted = lesser(chain())
    norm = wanted[1]  # a step of training moves its statistics
    data = DataLoader(TensorDataset(x, torch.arange(16) % 2), 16)
    pruning = Pruning(CLEAN, OneShot(0, keep=keep_without_the_filter(chain())), verbose=False)
    pl.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[pruning], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    ).fit(module, data)  # fmt: skip
    norm.load_state_dict({**module.net[1].state_dict(), "bias": norm.bias, "weight": norm.weight})
    norm.running_mean[1] = chain()[1].running_mean[1]
    norm.running_var[1] = chain()[1].running_var[1]
    assert module.net[0].bias[1] == 0
    assert torch.allclose(module.net.eval()(x), wanted(x), rtol=1e-10)
