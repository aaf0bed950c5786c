"""What data-informed criteria are shown in a Trainer: data, through what, in what precision."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from classifiers import SIZE, Classifier, Learner, fit, loader, nonzero, samples
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Geometric, Method, OneShot, Pruning, Samples
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import SNIP, ActivationCriterion, GradientCriterion
from lightning_prune.structures import Weights

DATA_FREE, LABELLED, LABEL_FREE = "synflow", ["snip", "snip_filters", "taylor"], ["wanda"]


def pruning(method="snip", **options):
    options = {"verbose": False, **options}
    return Pruning(method, OneShot(1, keep=0.5), **options)


class Sizes(ActivationCriterion):
    seen_sizes: ClassVar[list] = []

    def observe(self, layer, value):
        self.record(layer, value.abs().sum(0))
        if layer.name == "net.0":
            self.seen_sizes.append(len(value))

    def score(self, layer, structure):
        return (layer.weight.abs() * self.seen[layer.name]).flatten()


class Gradients(GradientCriterion):
    """Remembers what it saw."""

    def score(self, layer, structure):
        return (layer.weight * self.seen[layer.name]).abs().flatten()


def observed(criterion, module, **options):
    """What a criterion saw at an event before the first batch."""
    data = options.pop("data", None)
    amount = options.pop("batches", 8)
    loss = options.pop("loss", None)
    method = Method(criterion, Weights(), Threshold())
    callback = Pruning(method, OneShot(0, keep=1.0), batches=amount, loss=loss, verbose=False)
    fit(module, callback, data=data, max_epochs=1, **options)
    return criterion.seen


@pytest.mark.parametrize("name", [DATA_FREE, *LABELLED, *LABEL_FREE])
def test_methods_of_the_table_prune_a_module_in_training(name):
    module, callback = Classifier(), pruning(name)
    fit(module, callback)
    assert 0.3 * SIZE < nonzero(module.parameters()) <= 0.5 * SIZE


def test_synaptic_flow_is_cut_many_times_before_training():
    schedule = Geometric(first=0, every=1, events=12, keep=0.15, unit="step")
    module = Classifier()
    fit(module, Pruning(DATA_FREE, schedule, verbose=False), data=loader(batch_size=4))
    assert nonzero(module.parameters()) == int(0.15 * SIZE)
    assert all(p.count_nonzero() > 1 for p in module.parameters() if p.dim() > 1)


class CountsSteps(Classifier):
    def __init__(self):
        super().__init__()
        self.steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("name", [DATA_FREE, *LABELLED, *LABEL_FREE])
def test_labels_are_asked_for_by_methods_that_need_them(name):
    """12 batches are trained in 3 epochs; 2 more are looked at by who needs the loss."""
    module = CountsSteps()
    fit(module, pruning(name, batches=2))
    assert module.steps == 12 + (2 if name in LABELLED else 0)


@pytest.mark.parametrize(
    "loss", [None, lambda m, b: F.cross_entropy(m(b[0]), b[1])], ids=["training_step", "loss"]
)
def test_the_gradient_is_that_of_the_loss_over_all_samples(loss):
    module = Classifier()
    x, y = samples().tensors
    (mean,) = torch.autograd.grad(F.cross_entropy(module(x), y), module.net[0].weight)
    seen = observed(Gradients(), module, loss=loss)
    torch.testing.assert_close(seen["net.0"], 64 * mean, rtol=1e-4, atol=1e-5)


class Manual(Classifier):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(F.cross_entropy(self.net(batch[0]), batch[1]))
        optimizer.step()


def test_a_module_that_steps_by_itself_can_be_watched_at_its_forward():
    module = Manual()
    fit(module, pruning("wanda"))
    assert nonzero(module.parameters()) == int(0.5 * SIZE)


class WithoutForward(Learner, LightningModule):
    pass


def test_without_a_forward_training_step_is_watched_and_flow_is_refused():
    module = WithoutForward()
    fit(module, pruning("wanda"))
    assert nonzero(module.parameters()) == int(0.5 * SIZE)
    with pytest.raises(ValueError, match=r"SynFlow looks at a forward alone; give the module an"):
        fit(WithoutForward(), pruning(DATA_FREE))


@pytest.mark.parametrize(
    ("amount", "sizes"),
    [(3, [16] * 3), (Samples(20), [10, 10]), (Samples(), [16] * 4), (99, [16] * 4)],
    ids=["batches", "a number", "a failure probability", "more than there are"],
)
def test_so_many_samples_are_watched(amount, sizes):
    """eta = 12 + 8 + 6 + 3 = 29 outputs, 12 of one layer: 135 samples, of which there are 64."""
    Sizes.seen_sizes.clear()
    observed(Sizes(), Classifier(), batches=amount)
    assert Sizes.seen_sizes == sizes


@pytest.mark.parametrize("amount", [0, -1, 2.5, "all"])
def test_what_is_no_amount_is_refused_before_training(amount):
    with pytest.raises(ValueError, match=r"batches=\.\.\. is Samples\(\.\.\.\) or a whole number"):
        pruning(batches=amount)


class Faint(Classifier):
    """A loss so small that gradients of half precision would be zeros."""

    def training_step(self, batch, batch_idx):
        return 1e-6 * F.cross_entropy(self.net(batch[0]), batch[1])


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true", "64-true"])
def test_gradients_are_summed_in_float32_at_least(precision):
    options = {"precision": precision}
    if precision == "16-mixed":
        scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
        options = {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}
    seen = []
    for chosen in ({}, options):
        torch.manual_seed(2)
        seen.append(observed(Gradients(), Faint(), **chosen)["net.0"])
    plain, found = seen
    assert found.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    rtol = {"16-mixed": 1e-5, "64-true": 1e-3}.get(precision, 0.1)
    assert (found - plain).norm() < rtol * plain.norm()


class Images(Learner, LightningModule):
    """A norm, whose statistics SNIP takes from the batch and wanda from the past."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)))
        self.modes = []

    def forward(self, x):
        self.modes.append(self.net[1].training)
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


@pytest.mark.parametrize(
    ("method", "mode"),
    [
        ("snip", True),
        ("taylor", False),
        ("wanda", False),
        (DATA_FREE, False),
        (Method(SNIP(mode="eval"), Weights(), Threshold()), False),
    ],
    ids=["snip", "taylor", "wanda", "synflow", "snip in eval mode"],
)
def test_the_mode_is_the_one_that_the_criterion_declares(method, mode):
    module = Images()
    callback = Pruning(method, OneShot(0, keep=0.8), batches=1, recalibrate=False, verbose=False)
    fit(module, callback, data=loader(batch_size=64), max_epochs=1)
    looked, trained = module.modes[:2], module.modes[2:]
    assert sorted(looked) == [False, mode]  # traced in eval mode, before or after it is watched
    assert trained == [True]


def test_looking_changes_neither_streams_nor_weights_for_any_method():
    results = []
    for name in (None, DATA_FREE, *LABELLED, *LABEL_FREE):
        torch.manual_seed(3)
        module = Classifier(nn.Sequential(nn.Linear(8, 12), nn.Dropout(0.5), nn.Linear(12, 3)))
        callbacks = [Pruning(name, OneShot(1, keep=1.0), verbose=False)] if name else []
        fit(module, *callbacks, data=loader(shuffle=True))
        results.append([*module.parameters(), torch.rand(3)])
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_the_samples_that_are_watched_follow_their_seed_and_not_the_run():
    """Other seeds of the run, a loader that shuffles, batches of another size: the same samples."""
    x, y = samples(64).tensors
    data = TensorDataset(x.double(), y)
    seen = []
    for seed, size in ((0, 16), (1, 7)):
        module = Classifier().double()
        for parameter in module.parameters():
            nn.init.constant_(parameter, 0.1)
        torch.manual_seed(seed)
        batches = DataLoader(data, size, shuffle=True)
        options = {"data": batches, "batches": Samples(30), "precision": "64-true"}
        seen.append(observed(Gradients(), module, **options)["net.0"])
    torch.testing.assert_close(*seen, rtol=1e-9, atol=1e-12)
