"""Running statistics of norms after pruning."""

import copy

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import OneShot, Pruning, prune
from lightning_prune.network.statistics import renew_statistics

DATA = torch.randn(32, 3, 6, 6, generator=torch.Generator().manual_seed(0)).double()


def net():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6, momentum=0.3), nn.ReLU(), nn.Flatten(),
        nn.Linear(24, 2),
    ).double()  # fmt: skip
    for part in model:
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 2)
            part.bias.data.uniform_(-1, 1)
    return model


def statistics(model):
    return {n: b.clone() for n, b in model.named_buffers() if "running" in n}


def test_one_batch_is_normalised_by_itself():
    model = net()
    renew_statistics(model, [DATA], lambda batch, _: model(batch))
    hidden = model[0](DATA)
    assert torch.allclose(model[1].running_mean, hidden.mean((0, 2, 3)), atol=1e-12)
    assert torch.allclose(model[1].running_var, hidden.var((0, 2, 3), correction=1), atol=1e-12)
    behind = model[4](F.relu(model[1].train()(hidden)))  # without dropout
    assert torch.allclose(model[5].running_mean, behind.mean((0, 2, 3)), atol=1e-12)


def test_several_batches_count_alike():
    model = net()
    parts = DATA.split(8)
    renewed = renew_statistics(model, parts, lambda batch, _: model(batch))
    means = torch.stack([model[0](part).mean((0, 2, 3)) for part in parts])
    assert renewed == 2
    assert torch.allclose(model[1].running_mean, means.mean(0), atol=1e-12)


def test_nothing_else_changes():
    model = net()
    model[5].eval()
    before, stream = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    renew_statistics(model, DATA.split(8), lambda batch, _: model(batch))
    assert [part.training for part in model] == [True] * 5 + [False] + [True] * 3
    assert (model[1].momentum, model[5].momentum) == (0.1, 0.3)
    assert torch.equal(torch.get_rng_state(), stream)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("running" not in name)


def test_without_batches_they_stay():
    model = net()
    before = statistics(model)
    assert renew_statistics(model, [], lambda batch, _: model(batch)) == 0
    assert all(torch.equal(value, before[n]) for n, value in statistics(model).items())


@pytest.mark.parametrize("method", ["filter_norm", "channel_norm", "pfp", "thinet"])
def test_where_whole_units_leave_they_are_those_of_what_is_left(method):
    model = net()
    prune(model, method, 0.6, loader=DataLoader(DATA, 32), batches=1)
    found = statistics(model)
    renew_statistics(model, [DATA], lambda batch, _: model(batch))
    assert all(torch.allclose(v, found[n], atol=1e-12) for n, v in statistics(model).items())


def test_single_weights_leave_them_unless_asked():
    for asked, same in ((None, True), (False, True), (True, False)):
        model = net()
        before = statistics(model)
        prune(model, "magnitude", 0.6, loader=DataLoader(DATA, 32), recalibrate=asked)
        now = statistics(model)
        assert all(torch.equal(now[n], before[n]) for n in now) == same


def test_where_nothing_leaves_they_stay():
    model = net()
    before = statistics(model)
    prune(model, "filter_norm", 1.0, loader=DataLoader(DATA, 32), recalibrate=True)
    assert all(torch.equal(value, before[n]) for n, value in statistics(model).items())


def test_without_data_it_is_said_or_refused():
    report = prune(net(), "filter_norm", 0.6, example=DATA[:2])
    assert any("running statistics of norms are those of the dense" in n for n in report.notes)
    model = net()
    with pytest.raises(ValueError, match=r"takes data: give loader=\.\.\."):
        prune(model, "filter_norm", 0.6, example=DATA[:2], recalibrate=True)
    assert all(p.count_nonzero() == p.numel() for p in model[0].parameters())


def test_a_loader_that_was_read_to_its_end_is_said():
    report = prune(net(), "filter_norm", 0.6, example=DATA[:2], loader=iter([]))
    assert any("the loader was read to its end" in note for note in report.notes)


class Lit(pl.LightningModule):
    def __init__(self, automatic=True):
        super().__init__()
        self.net, self.automatic_optimization = net(), automatic

    def training_step(self, batch, index):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        if not self.automatic_optimization:
            self.manual_backward(loss)
            self.optimizers().step()
            return None
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(module, data, *callbacks):
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=list(callbacks), logger=False, barebones=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data)


class Seen(pl.Callback):
    """Looks at the statistics just behind the event."""

    def on_train_batch_start(self, trainer, module, batch, index):
        if index == 0:
            self.found = statistics(module.net)


@pytest.mark.parametrize("asked", [None, False])
def test_a_trainer_does_it_at_the_event(asked):
    module, seen = Lit(), Seen()
    data = DataLoader(TensorDataset(DATA, torch.arange(32) % 2), 32)
    pruning = Pruning("filter_norm", OneShot(0, keep=0.6), batches=1, recalibrate=asked)
    fit(module, data, pruning, seen)
    model = net()
    prune(model, "filter_norm", 0.6, loader=DataLoader(DATA, 32), recalibrate=False)
    if asked is None:
        renew_statistics(model, [DATA], lambda batch, _: model(batch))
    assert all(torch.allclose(v, seen.found[n], atol=1e-12) for n, v in statistics(model).items())


@pytest.mark.parametrize("asked", [None, True])
def test_a_module_that_only_trains_is_left_alone_or_refused(asked):
    class Manual(Lit):
        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            return super().training_step(batch["some"], index)

    module = Manual(automatic=False)
    module.example_input_array = DATA[:2]
    loader = DataLoader(TensorDataset(DATA, torch.arange(32) % 2), 32)
    pruning = Pruning("filter_norm", OneShot(0, keep=0.6), recalibrate=asked, verbose=False)
    if asked:
        with pytest.raises(ValueError, match="training_step would take optimizer steps"):
            fit(module, {"some": loader, "other": loader}, pruning)
        return
    fit(module, {"some": loader, "other": loader}, pruning)
    assert any("were not estimated anew" in note for note in pruning.events[0]["notes"])
