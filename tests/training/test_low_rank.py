"""Low rank in a Trainer: what is written, what optimizers remember, what checkpoints hold."""

import copy
import pickle

import pytest
import torch
from classifiers import Classifier, Probe, convolutional, loader, trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn, optim

from lightning_prune import (
    OneShot,
    Pruning,
    Rewind,
    Steps,
    export_factors,
    load_pruned,
)
from lightning_prune.lowrank import balanced, factored, factors_of, folding_for, folding_of
from lightning_prune.training.momenta import lifted, projected

IMAGES = (1, 8, 8)
LOW_RANK = ["svd", "svd_energy", "alds", "alds_plus", "snip_ranks"]


class Checked(Classifier):
    def test_step(self, batch, batch_idx):
        self.log("test_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))


def train(module, *callbacks, **options):
    run = trainer(*callbacks, **options)
    run.fit(module, loader(shape=IMAGES))
    return run


def low_rank(method="alds", schedule=None, **options):
    return Pruning(method, schedule or Steps({1: 0.8, 2: 0.6}), verbose=False, **options)


@pytest.mark.parametrize("name", LOW_RANK)
def test_what_is_stored_is_what_the_budget_counts(name):
    module, callback = Classifier(convolutional()), low_rank(name)
    train(module, callback)
    first, last = callback.events
    stored = sum(p.numel() for p in module.parameters())
    assert stored == last["left"] == last["nonzero"] <= 0.6 * last["dense"] < first["left"]
    assert callback.keep == stored / last["dense"]


def test_factors_of_a_trained_network_are_its_best():
    """Eckart-Young on weights that a Trainer trained: the error is the next singular value."""
    module = Classifier(convolutional())
    torch.manual_seed(0)
    train(module, max_epochs=1, limit_train_batches=1)
    weights = {n: p.detach().clone() for n, p in module.net.named_parameters()}
    callback = low_rank("svd", OneShot(0, keep=0.5))
    look = Probe(
        "on_train_batch_start",
        lambda t, m: {
            n: (layer.weight.detach().clone(), factors_of(layer)[0].shape[0])
            for n, layer in factored(m.net)
        },
    )
    train(module, callback, look, max_epochs=1, limit_train_batches=1)
    rows = {row["name"]: row for row in callback.events[0]["layers"]}
    assert look.seen[0]
    for name, (weight, rank) in look.seen[0].items():
        dense = weights[f"{name}.weight"].flatten(1).double()
        values = torch.linalg.svdvals(dense)
        error = torch.linalg.matrix_norm(dense - weight.flatten(1).double(), 2)
        torch.testing.assert_close(error, values[rank], rtol=1e-4, atol=1e-6)
        assert rows[f"net.{name}"]["error"] == pytest.approx(float(values[rank] / values[0]), 1e-4)


def test_bounds_lie_above_the_errors_beside_them():
    callback = low_rank("alds_plus")
    train(Classifier(convolutional()), callback)
    for event in callback.events:
        rows = [row for row in event["layers"] if row["bound"] is not None]
        assert rows
        assert all(row["error"] <= row["bound"] * (1 + 1e-6) + 1e-6 for row in rows)
        assert event["bound"] == max(row["bound"] for row in rows)
        assert all(row["slices"] is not None and row["scheme"] in range(4) for row in rows)


def test_every_factor_trains_and_the_module_stays_the_same_object():
    module, callback = Classifier(convolutional()), low_rank()
    layers = [part for part in module.net if hasattr(part, "weight")]
    values = Probe("on_train_batch_end", lambda _, m: [p.detach().clone() for p in m.parameters()])
    train(module, callback, values, max_epochs=4)
    assert [part for part in module.net if hasattr(part, "weight")] == layers
    for before, after in zip(values.seen[-2], values.seen[-1], strict=True):
        assert not torch.equal(before, after)


def test_momentum_goes_on_in_the_factors():
    """By the chain rule, G_E = D^T G and G_D = G E^T for W = D E, of the momentum before."""
    module = Classifier(convolutional())
    seen = []

    def look(run, module):
        (optimizer,) = run.optimizers
        seen.append(
            {
                name: {k: v.clone() for k, v in optimizer.state[p].items() if torch.is_tensor(v)}
                for name, p in module.net.named_parameters()
            }
        )

    train(
        module,
        Probe("on_train_batch_end", look),
        low_rank("svd", OneShot(1, keep=0.6)),
        Probe("on_train_batch_start", look),
        max_epochs=2,
    )
    before, after = seen[7], seen[8]  # the last batch of the first epoch, and after the event
    names = [
        n.removesuffix(".parametrizations.weight.original0") for n in after if "original0" in n
    ]
    assert names
    for name in names:
        layer = module.net.get_submodule(name)
        dense = before[f"{name}.weight"]["momentum_buffer"].flatten(1)
        encoder, decoder = (
            after[f"{name}.parametrizations.weight.original{i}"]["momentum_buffer"] for i in (0, 1)
        )
        assert encoder.shape == factors_of(layer)[0].shape
        assert encoder.abs().sum() > 0
        # of a product, both are projections of one and the same momentum: D^T (G E^T) = (D^T G) E^T
        assert encoder.numel() + decoder.numel() < dense.numel()


def test_projected_and_lifted_momenta_agree():
    """Of a momentum within reach of the factors nothing is lost on the way there and back."""
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3)
    for slices, scheme in ((1, 0), (2, 0), (2, 1), (4, 3)):
        folding = folding_for(layer, scheme, slices)
        pair = balanced(layer.weight.detach().double(), folding, range(min(2, folding.full_rank)))
        gradient = torch.randn(layer.weight.shape, dtype=torch.float64)
        parts = projected(gradient, folding, *pair)
        matrices = folding.matrices(gradient)
        left, right = folding.left(pair[1]), folding.right(pair[0])
        torch.testing.assert_close(folding.right(parts[0]), left.mT @ matrices)
        torch.testing.assert_close(folding.left(parts[1]), matrices @ right.mT)
        again = lifted(parts, folding, pair)
        for one, other in zip(projected(again, folding, *pair), parts, strict=True):
            torch.testing.assert_close(one, other)
        torch.testing.assert_close(lifted(projected(again, folding, *pair), folding, pair), again)
        assert again.norm() <= gradient.norm() + 1e-9, "the smallest that has both"


@pytest.mark.parametrize("make", [optim.Adam, lambda p: optim.AdamW(p, amsgrad=True)])
def test_adam_goes_on_as_after_one_step(make):
    module, callback = Classifier(convolutional(), optimizer=make), low_rank("svd")
    states = []
    look = Probe(
        "on_train_batch_start",
        lambda t, m: states.append(
            [
                {k: v.clone() for k, v in t.optimizers[0].state[p].items()}
                for _, layer in factored(m)
                for p in factors_of(layer)
            ]
        ),
    )
    train(module, callback, look)
    (note,) = [n for n in callback.events[0]["notes"] if "second moments" in n]
    assert note.startswith("second moments of Adam")
    for state in states[4]:
        assert float(state["step"]) == 1
        mean = state["exp_avg"] / (1 - 0.9)
        torch.testing.assert_close(state["exp_avg_sq"], (1 - 0.999) * mean.square())
    assert all(p.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    "make", [lambda p: optim.RMSprop(p, 1e-3), optim.NAdam, lambda p: optim.Adagrad(p, 1e-2)]
)
def test_other_optimizers_begin_anew(make):
    module, callback = Classifier(convolutional(), optimizer=make), low_rank("svd")
    train(module, callback)
    assert all(p.isfinite().all() for p in module.parameters())
    assert any("begin anew" in note for note in callback.events[0]["notes"])


def test_checkpoints_load_whatever_form_the_module_has(tmp_path):
    module, callback = Checked(convolutional()), low_rank("alds_plus")
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    train(module, callback, saving, enable_checkpointing=True)
    dense, last = tmp_path / "epoch=0.ckpt", tmp_path / "epoch=2.ckpt"
    x = torch.randn(5, *IMAGES)
    for start in (dense, last):
        fresh = load_pruned(start, Checked(convolutional()))
        load_pruned(last, fresh)
        assert torch.equal(fresh(x), module(x))
        load_pruned(dense, fresh)
        assert not list(factored(fresh))
    # a best checkpoint from before the event goes into the factored module, through the Trainer
    run = trainer(low_rank("alds_plus"), saving, enable_checkpointing=True)
    run.test(module, loader(shape=IMAGES), ckpt_path=str(dense), verbose=False)
    assert not list(factored(module))
    run.test(module, loader(shape=IMAGES), ckpt_path=str(last), verbose=False)
    assert torch.equal(module(x), load_pruned(last, Checked(convolutional()))(x))


def test_the_hook_leaves_with_the_trainer_and_copies_follow_states_of_their_own():
    module = Classifier(convolutional())
    assert not module._load_state_dict_pre_hooks
    train(module, low_rank())
    assert not module._load_state_dict_pre_hooks
    twin = copy.deepcopy(module)
    assert [n for n, _ in factored(twin)] == [n for n, _ in factored(module)] != []
    small = export_factors(module.net)
    again = pickle.loads(pickle.dumps(small))
    x = torch.randn(5, *IMAGES)
    torch.testing.assert_close(again(x), module(x), rtol=1e-4, atol=1e-5)


def test_a_second_fit_counts_against_the_dense_network():
    module = Classifier(convolutional())
    first, second = low_rank(), low_rank("svd", OneShot(0, keep=0.5))
    train(module, first)
    train(module, second)
    assert second.events[0]["dense"] == first.events[0]["dense"]
    assert second.keep <= 0.5 < first.keep


def test_the_exported_network_scores_as_the_trained_one():
    module = Classifier(convolutional())
    train(module, low_rank("alds_plus"))
    module.eval()
    data = torch.stack([x for x, _ in loader(shape=IMAGES).dataset])
    with torch.no_grad():
        ours, exported = module.net(data), export_factors(module.net)(data)
    torch.testing.assert_close(ours, exported, rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.argmax(1), exported.argmax(1))
    assert not any(folding_of(part) for part in export_factors(module.net).modules())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rewind": Rewind(0, weights=True)}, r"Ranks changes parameters.*Rewind\(weights=False\)"),
        ({"hold": False}, r"Ranks changes parameters.*hold=True"),
    ],
)
def test_what_does_not_go_together_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        low_rank(**options)


def test_a_budget_out_of_reach_is_refused_before_training():
    module = Classifier(convolutional())
    state = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"keep=0.01 is out of reach.*smallest reachable keep"):
        train(module, low_rank(schedule=OneShot(2, keep=0.01)))
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())


def test_fit_is_as_good_as_training_the_layers_apart():
    """The gradient through the product is that through two layers."""
    net = convolutional()
    module = Classifier(net)
    train(module, low_rank("alds_plus"))
    small = export_factors(net)
    x, y = torch.randn(7, *IMAGES), torch.randint(3, (7,))
    for part in (net, small):
        part.train()
        part.zero_grad()
        nn.functional.cross_entropy(part(x), y).backward()
    ours = [f.grad for _, layer in factored(net) for f in factors_of(layer)]
    pairs = [p for p in small if isinstance(p, nn.Sequential)]
    theirs = [layer.weight.grad for pair in pairs for layer in pair]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.flatten(), other.flatten(), rtol=1e-3, atol=1e-5)
