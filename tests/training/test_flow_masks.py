"""What leaves a flow in training stays gone, whatever optimizer and gradient, at no cost a call."""

from functools import partial
from itertools import pairwise

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Grid, Pruning, Rewind, Steps
from lightning_prune.models import CNF, MLPField
from lightning_prune.network.layers import find_layers
from lightning_prune.solve import Solver
from lightning_prune.tasks import Density

OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=0.01, weight_decay=0.1),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    "sgd": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.1),
}
DENSE = 3  # steps of training before the first event
CASCADE = Grid(DENSE, 2, [0.7, 0.5, 0.35, 0.35], unit="step")


class Watch(pl.Callback):
    """Stands behind `Pruning`: weights and gradients of every step, rates, states and hooks."""

    def __init__(self):
        self.weights, self.gradients, self.rates, self.moments, self.hooks = [], [], [], [], []

    def on_train_start(self, trainer, pl_module):
        trainer.optimizers[0].register_step_post_hook(self.step)  # a closure makes them in the step

    def step(self, optimizer, *_):
        parameters = optimizer.param_groups[0]["params"]
        self.gradients.append([p.grad.clone() for p in parameters])

    def on_train_batch_start(self, trainer, pl_module, *_):
        optimizer = trainer.optimizers[0]
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.moments.append(len(optimizer.state))

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.weights.append([p.detach().clone() for p in pl_module.parameters()])
        self.hooks += [m for m in pl_module.net.modules() if changed(m)]


def changed(module):
    """Whether a call of the module is more than its forward."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks,
        module._backward_pre_hooks,
    )  # fmt: skip
    return any(hooks) or parametrize.is_parametrized(module) or "forward" in vars(module)


def flow(gradient="autograd", **options):
    torch.manual_seed(0)
    field = MLPField(hidden=[8, 8], **options)
    return CNF(field, solver=Solver(steps=2, gradient=gradient))


def fit(net, pruning, optimizer="adamw", scheduler=None, steps=8):
    """Steps of training on 16 points each; what a callback saw."""
    watch = Watch()
    points = torch.randn(32, 2, generator=torch.Generator().manual_seed(1)) * 0.5 + 1
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", devices=1, logger=False,
        callbacks=[pruning, watch], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    task = Density(net, OPTIMIZERS[optimizer], scheduler, "step")
    loader = DataLoader(TensorDataset(points), 16)
    trainer.fit(task, loader, loader)
    assert len(watch.weights) == steps
    return watch


@pytest.mark.parametrize("gradient", ["autograd", "adjoint"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_gone_stays_zero_and_its_gradient_is_zero(optimizer, gradient):
    pruning = Pruning("magnitude", Steps({DENSE: 0.6}, unit="step"), verbose=False)
    watch = fit(flow(gradient), pruning, optimizer)
    assert watch.moments[DENSE] == 6, "the optimizer had moved what was removed then"
    assert all(bool(g.any()) for g in watch.gradients[DENSE - 1])
    gone = [tensor == 0 for tensor in watch.weights[DENSE]]
    assert sum(int(flags.sum()) for flags in gone) == 114 - int(0.6 * 114)
    for weights, gradients in zip(watch.weights[DENSE:], watch.gradients[DENSE:], strict=True):
        for tensor, gradient_, flags in zip(weights, gradients, gone, strict=True):
            assert not tensor[flags].any()
            assert not gradient_[flags].any()
            assert tensor[~flags].all()
            assert gradient_[~flags].any()
    moved = [not torch.equal(a, b) for a, b in zip(*watch.weights[-2:], strict=True)]
    assert all(moved), "what is left is trained"


@pytest.mark.parametrize("keep", [0.83, 0.5, 0.31])
def test_the_keep_is_met_to_one_weight_and_to_one_unit(keep):
    single = Pruning("magnitude", Steps({1: keep}, unit="step"), verbose=False)
    fit(flow(), single, steps=2)
    event = single.events[0]
    assert 0 <= keep - event["left"] / event["dense"] < 1 / event["dense"]
    units = Pruning("filter_norm", Steps({1: keep}, unit="step"), verbose=False)
    fit(flow(), units, steps=2)
    event = units.events[0]
    unit = 8 + 1 + 8  # a row, its bias, and the columns that read it
    assert 0 <= keep - event["left"] / event["dense"] < unit / event["dense"]


@pytest.mark.parametrize("method", ["magnitude", "magnitude_clean", "filter_norm", "snip"])
def test_masks_of_a_cascade_lie_in_one_another(method):
    pruning = Pruning(method, CASCADE, rewind=Rewind(0), verbose=False)
    watch = fit(flow(), pruning, steps=11)
    zeros = [[tensor == 0 for tensor in weights] for weights in watch.weights]
    assert len(pruning.events) == 4
    for before, after in pairwise(zeros[DENSE:]):
        assert all(bool((now | ~gone).all()) for gone, now in zip(before, after, strict=True))
    counts = [sum(int(flags.sum()) for flags in zeros[step]) for step in (2, 3, 5, 7, 9)]
    assert counts[0] == 0 < counts[1] < counts[2] < counts[3] == counts[4]


def test_the_smallest_weight_kept_is_no_smaller_than_the_largest_removed():
    net = flow()
    before = [layer.weight.detach().clone() for layer in find_layers(net)]
    before[2] *= 0.8  # of another scale: it is one threshold over all layers
    net.fields[0].layers[2].weight.data.copy_(before[2])
    pruning = Pruning("magnitude", Steps({0: 0.6}, unit="step"), verbose=False)
    watch = fit(net, pruning, steps=1)
    kept = [w.weight.detach() != 0 for w in find_layers(net)]
    assert all(bool(flags.any()) for flags in kept), "no layer is empty"
    least = min(float(w[flags].abs().min()) for w, flags in zip(before, kept, strict=True))
    most = max(float(w[~flags].abs().max()) for w, flags in zip(before, kept, strict=True))
    assert least >= most
    assert watch.moments == [0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_cycle_has_the_rates_of_the_first_and_a_fresh_optimizer(optimizer):
    rates = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.7)
    schedule = Grid(4, 4, [0.7, 0.5], unit="step")
    pruning = Pruning("magnitude", schedule, rewind=Rewind(0), verbose=False)
    watch = fit(flow(), pruning, optimizer, rates, steps=12)
    first = watch.rates[:4]
    assert len(set(first)) == 4
    assert watch.rates == first * 3
    assert [watch.moments[step] for step in (0, 4, 8)] == [0, 0, 0]
    assert 0 not in (*watch.moments[1:4], *watch.moments[5:8], *watch.moments[9:])


def test_without_a_rewind_rates_and_moments_go_on():
    rates = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.7)
    pruning = Pruning("magnitude", Steps({4: 0.5}, unit="step"), verbose=False)
    watch = fit(flow(), pruning, "adamw", rates)
    assert len(set(watch.rates)) == 8
    assert watch.moments[4] == 6


class Count(TorchDispatchMode):
    """Every operation of torch."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["magnitude", "filter_norm", "magnitude_clean", "snip"])
def test_an_evaluation_of_a_pruned_field_costs_what_it_did(method):
    net = flow()
    pruning = Pruning(method, Steps({1: 0.5}, unit="step"), verbose=False)
    watch = fit(net, pruning, steps=3)
    assert watch.hooks == [], "neither while it is held"
    assert not any(changed(module) for module in net.modules()), "nor afterwards"
    assert {type(p) for p in net.parameters()} == {torch.nn.Parameter}
    told = []
    for each in (flow(), net):
        each.zero_grad()
        points = torch.zeros(4, 2)
        with Count() as count:
            each.log_prob(points).sum().backward()
        told.append(count.names)
    assert told[0] == told[1]
