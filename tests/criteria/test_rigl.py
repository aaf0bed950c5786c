"""RigL: five events of a training, every one against the rule computed with autograd."""

import copy
import math

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Method, OneShot, Pruning, Steps, prune
from lightning_prune.allocations import ERK
from lightning_prune.criteria import RigL
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Weights

INPUTS = torch.randn(24, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
TARGETS = INPUTS[:, :3].sin()
EVERY = 10  # steps from event to event


def loss(module, batch):
    return (module.net(batch[0]) - batch[1]).square().mean()


class Regression(pl.LightningModule):
    """In double precision, so that no two gradients are close; one batch is all of the data."""

    def __init__(self, optimizer=torch.optim.SGD, **options):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()
        self.options = (optimizer, {"lr": 0.05, **options})

    def training_step(self, batch, batch_idx):
        return loss(self, batch)

    def configure_optimizers(self):
        optimizer, options = self.options
        return optimizer(self.parameters(), **options)

    def train_dataloader(self):
        return DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=len(INPUTS))


class Before(pl.Callback):
    """Weights, masks and dense gradients before an event."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, *_):
        if trainer.current_epoch % EVERY:
            return
        twin = copy.deepcopy(pl_module.net)
        (twin(INPUTS) - TARGETS).square().mean().backward()
        layers = [layer for layer in twin if isinstance(layer, nn.Linear)]
        self.seen.append([(x.weight.detach(), x.weight.grad.abs()) for x in layers])


class After(pl.Callback):
    """Weights, masks and optimizer state after an event."""

    def __init__(self, pruning):
        self.pruning, self.seen = pruning, []

    def on_train_batch_start(self, trainer, pl_module, *_):
        if trainer.current_epoch % EVERY:
            return
        held, found = self.pruning.masks.held, []
        for layer in (pl_module.net[0], pl_module.net[2]):
            mask = held.get(layer.weight, torch.ones_like(layer.weight)) != 0
            state = trainer.optimizers[0].state[layer.weight]
            moments = [v.clone() for v in state.values() if getattr(v, "shape", ()) == mask.shape]
            found.append((layer.weight.detach().clone(), mask, moments))
        self.seen.append(found)


def train(keeps, criterion, **options):
    """One step an epoch, and an event every few epochs."""
    net = Regression(**options)
    schedule = Steps({EVERY * i: keep for i, keep in enumerate(keeps)})
    pruning = Pruning(Method(criterion, Weights(), ERK()), schedule, loss=loss, verbose=False)
    before, after = Before(), After(pruning)
    trainer = pl.Trainer(
        max_epochs=EVERY * len(keeps), accelerator="cpu", logger=False,
        callbacks=[before, pruning, after], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(net)
    return pruning, before.seen, after.seen


def top(values, count, among):
    """Flags of the `count` largest among some."""
    flags = torch.zeros(values.numel(), dtype=torch.bool)
    flags[values.masked_fill(~among, -1.0).flatten().argsort(descending=True)[:count]] = True
    return flags.view(values.shape)


MOMENTS = [
    {"optimizer": torch.optim.SGD, "momentum": 0.9, "weight_decay": 1e-3},
    {"optimizer": torch.optim.Adam},
]


@pytest.mark.parametrize("options", MOMENTS, ids=["sgd", "adam"])
@pytest.mark.parametrize("keeps", [[0.5] * 5, [0.8, 0.7, 0.6, 0.5, 0.4]], ids=["equal", "falling"])
def test_every_event_grows_the_largest_dense_gradients(keeps, options):
    pruning, before, after = train(keeps, RigL(drop=0.4), **options)
    dense = sum(p.numel() for p in Regression().parameters())
    assert [event["left"] for event in pruning.events] == [int(keep * dense) for keep in keeps]
    grown_in_all, active = 0, [torch.ones_like(w, dtype=torch.bool) for w, _ in before[0]]
    for event in range(5):
        share = 0.2 * (1 + math.cos(math.pi * event / 5))
        for i, (weight, gradient) in enumerate(before[event]):
            now, mask, moments = after[event][i]
            count = int(mask.sum())
            standing = top(weight.abs(), count, active[i]) & active[i]
            full = int(standing.sum()) == mask.numel()
            dropped = 0 if full else math.floor(share * int(standing.sum()))
            survivors = top(weight.abs(), int(standing.sum()) - dropped, standing)
            grown = top(gradient, count - int(survivors.sum()), ~survivors)
            assert torch.equal(mask, survivors | grown), (event, i)
            assert torch.equal(now, weight * survivors), "what grows starts at zero"
            for moment in moments:
                assert not moment[~survivors].any(), "and without a past"
            grown_in_all += int((mask & ~active[i]).sum())
            active[i] = mask
    assert grown_in_all >= 10, "weights did come back"


def test_the_count_of_every_layer_is_constant():
    _, _, after = train([0.3] * 5, RigL())
    counts = [[int(mask.sum()) for _, mask, _ in event] for event in after]
    assert counts == [counts[0]] * 5
    assert not all(
        torch.equal(one[1], other[1]) for one, other in zip(after[0], after[4], strict=True)
    )


def test_prune_grows_by_the_gradient_of_the_loss_that_is_given():
    module = nn.Linear(4, 1, bias=False)
    module.weight.data = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    # the gradient of w x is x: of 2, 1 (just dropped or not active) and 3 the third is largest
    batch = torch.tensor([[0.0, 1.0, -5.0, 2.0]])
    method = Method(RigL(drop=0.5), Weights(), ERK())
    report = prune(module, method, 0.5, loader=[batch], loss=lambda m, x: m(x).sum())
    assert module.weight.tolist() == [[4, 0, 0, 0]]
    assert (report.left, report.nonzero) == (2, 1)
    score = method.criterion.score(find_layers(module)[0], Weights())
    assert score.argsort(descending=True).tolist() == [0, 2, 3, 1]


def test_a_weight_that_was_just_dropped_may_grow_again_from_zero():
    module = nn.Linear(3, 1, bias=False)
    module.weight.data = torch.tensor([[4.0, 3.0, 0.0]])
    method = Method(RigL(drop=0.5), Weights(), ERK())
    batch = torch.tensor([[0.0, 9.0, 1.0]])
    prune(module, method, 2 / 3, loader=[batch], loss=lambda m, x: m(x).sum())
    assert module.weight.tolist() == [[4, 0, 0]]
    score = method.criterion.score(find_layers(module)[0], Weights())
    assert score.argsort(descending=True).tolist() == [0, 1, 2]


def test_soft_pruning_is_refused():
    with pytest.raises(ValueError, match=r"RigL chooses what comes back.*leave hold=True"):
        Pruning("rigl", OneShot(0, keep=0.5), hold=False)


def test_a_share_out_of_reach_is_refused_before_training():
    with pytest.raises(ValueError, match=r"keep=0\.001 is out of reach"):
        train([0.5, 0.001], RigL())


def test_without_a_loss_it_asks_for_one():
    with pytest.raises(ValueError, match="RigL needs gradients: give loss="):
        prune(nn.Linear(3, 1), "rigl", 0.5, loader=[torch.zeros(1, 3)])
