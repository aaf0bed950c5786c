"""Units leave the module during training, and training goes on as if they had been masked."""

import copy

import pytest
import torch
from classifiers import Classifier, Probe, Scored, convolutional, loader, trainer
from pytorch_lightning.callbacks import ModelCheckpoint, StochasticWeightAveraging
from torch import nn, optim

from lightning_prune import LayerFilter, OneShot, Pruning, Rewind, Steps, load_pruned
from lightning_prune.data import ResumableLoader

IMAGES = (1, 8, 8)
TWICE = Steps({1: 0.6, 2: 0.3})


def pruning(method="filter_norm", schedule=TWICE, thin=True, **options):
    return Pruning(method, schedule, thin=thin, verbose=False, **options)


def module(optimizer=None, seed=0):
    torch.manual_seed(seed)
    return Classifier(convolutional(), optimizer)


def train(model, *callbacks, **options):
    run = trainer(*callbacks, **options)
    run.fit(model, ResumableLoader(loader(shape=IMAGES).dataset, 16))
    return run


def size(model):
    return sum(p.numel() for p in model.parameters())


OPTIMIZERS = {
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, 1e-2),
    "amsgrad": lambda p: optim.AdamW(p, 1e-2, amsgrad=True),
    "rmsprop": lambda p: optim.RMSprop(p, 1e-3, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, 1e-2),
    "two groups": lambda p: optim.SGD(
        [{"params": [q for q in p if q.dim() > 1], "lr": 0.02}], lr=0.1, momentum=0.9
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.slow
def test_training_goes_on_as_with_masks(name):
    """In float64 the weights are those of the masked run, where those are not zero."""

    def make(parameters):
        return OPTIMIZERS[name](list(parameters))

    runs = []
    for thin in (False, True):
        model, callback = module(make), pruning(thin=thin)
        train(model, callback, precision="64-true")
        runs.append((model, callback))
    (masked, one), (small, other) = runs
    assert size(small) == other.events[-1]["left"] == one.events[-1]["left"] < size(masked)
    x = torch.randn(4, *IMAGES, dtype=torch.float64)
    masked.double().eval(), small.double().eval()
    torch.testing.assert_close(small(x), masked(x), rtol=1e-7, atol=1e-9)
    for event, like in zip(other.events, one.events, strict=True):
        assert {k: event[k] for k in ("keep", "left", "dense", "nonzero", "params")} == {
            k: like[k] for k in ("keep", "left", "dense", "nonzero", "params")
        }
        for row, twin in zip(event["layers"], like["layers"], strict=True):
            same = ("name", "units", "kept", "params", "nonzero", "macs", "macs_effective")
            assert {k: row[k] for k in same} == {k: twin[k] for k in same}


def test_what_optimizers_remember_is_cut_and_schedules_go_on():
    remembered = Probe(
        "on_train_batch_start",
        lambda t, m: {
            n: copy.deepcopy(t.optimizers[0].state.get(p, {})) for n, p in m.named_parameters()
        },
    )
    model = module(lambda p: optim.Adam(p, 1e-2))
    before = Probe(
        "on_train_epoch_start",
        lambda t, m: {n: p.detach().clone() for n, p in m.named_parameters()},
    )
    run = train(model, before, pruning(schedule=OneShot(1, 0.5)), remembered, max_epochs=2)
    per_epoch = len(remembered.seen) // 2
    state = remembered.seen[per_epoch]
    for name, parameter in model.named_parameters():
        assert state[name]["exp_avg"].shape == parameter.shape
        assert state[name]["exp_avg_sq"].shape == parameter.shape
        assert float(state[name]["step"]) == per_epoch
        assert bool(state[name]["exp_avg"].any())
    (group,) = run.optimizers[0].param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_every_tensor_that_is_left_still_moves():
    first = Probe(
        "on_train_epoch_end", lambda t, m: {n: p.clone() for n, p in m.named_parameters()}
    )
    model = module()
    train(model, pruning(schedule=OneShot(1, 0.5)), first, max_epochs=3)
    for name, parameter in model.named_parameters():
        assert parameter.shape == first.seen[1][name].shape
        assert not torch.equal(parameter, first.seen[1][name]), name


def test_forgets_what_cannot_be_cut():
    model = module(lambda p: optim.Adafactor(p, 1e-2))
    callback = pruning(schedule=OneShot(1, 0.5))
    train(model, callback, max_epochs=2)
    assert size(model) == callback.events[0]["left"]


def test_keep_is_a_share_of_the_network_that_training_began_with():
    model, callback = module(), pruning(measure="macs")
    whole = size(model)
    train(model, callback)
    first, last = callback.events
    assert first["params"] == last["params"] == whole
    assert first["dense"] == last["dense"]
    assert last["left"] <= 0.3 * last["dense"] < first["left"] <= 0.6 * first["dense"]


def test_layers_that_are_left_out_keep_their_width():
    model = module()
    train(model, pruning(schedule=OneShot(1, 0.5), layers=LayerFilter(exclude="net.0")))
    assert model.net[0].out_channels == 8
    assert model.net[3].out_channels < 8
    assert model.net[3].in_channels == 8


def test_tickets_are_cut_too():
    """Rewound weights are the first ones, of what is left, whatever was removed since."""
    model = module()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    seen = Probe(
        "on_train_batch_start", lambda t, m: {n: p.clone() for n, p in m.named_parameters()}
    )
    train(model, pruning(rewind=Rewind(0, weights=True)), seen)
    rewound = seen.seen[2 * len(seen.seen) // 3]
    for name in ("net.3.bias", "net.1.weight"):
        kept = rewound[name].detach().tolist()
        assert len(kept) < len(start[name])
        assert all(any(abs(v - w) < 1e-7 for w in start[name].tolist()) for v in kept)


def test_checkpoints_of_either_size_load(tmp_path):
    model = Scored(convolutional())
    saved = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, monitor="train_loss")
    callback = pruning()
    run = trainer(callback, saved, enable_checkpointing=True)
    data = ResumableLoader(loader(shape=IMAGES).dataset, 16)
    run.fit(model, data, loader(shape=IMAGES))
    left, files = size(model), sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == 3
    sizes = []
    for file in files:
        fresh = load_pruned(file, Scored(convolutional()))
        state = torch.load(file, weights_only=True)["state_dict"]
        assert all(torch.equal(fresh.state_dict()[n], t) for n, t in state.items())
        fresh.eval()(torch.randn(2, *IMAGES))
        sizes.append(size(fresh))
    assert sizes[0] > sizes[1] > sizes[2] == left
    run.test(model, loader(shape=IMAGES), ckpt_path=files[0], verbose=False)  # the dense one
    assert size(model) == sizes[0]
    run.test(model, loader(shape=IMAGES), ckpt_path=files[2], verbose=False)
    assert size(model) == sizes[2]


def test_what_the_forward_does_not_follow_stays_masked_through_training():
    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = (
                nn.Linear(8, 12), nn.Linear(12, 10), nn.Linear(10, 3),
            )  # fmt: skip

        def forward(self, x):
            return self.third(self.second(self.first(x).relu() * torch.ones(12)).relu())

    model, callback = Classifier(Stubborn()), pruning()
    run = trainer(callback)
    run.fit(model, loader())
    net, last = model.net, callback.events[-1]
    assert net.first.out_features == 12
    assert net.second.out_features < 10
    zero = int((net.first.weight == 0).all(1).sum())
    assert 0 < zero < 12
    assert bool((net.second.weight[:, (net.first.weight == 0).all(1)] == 0).all())
    assert any("net.first stays masked: the forward of" in note for note in last["notes"])
    assert sum(int(p.count_nonzero()) for p in model.parameters()) <= last["left"]


def test_a_share_of_one_takes_nothing_out():
    model, callback = module(), pruning(schedule=OneShot(1, 1.0))
    whole = size(model)
    train(model, callback)
    assert size(model) == whole
    assert callback.keep == 1.0


@pytest.mark.parametrize(
    ("method", "options", "why"),
    [
        ("magnitude", {}, "takes out whole filters or channels, and Weights removes none"),
        ("alds", {}, "takes out whole filters or channels, and Ranks removes none"),
        ("filter_norm", {"hold": False}, "What is taken out cannot come back"),
    ],
)
def test_what_cannot_be_taken_out_is_refused(method, options, why):
    with pytest.raises(ValueError, match=why):
        pruning(method, **options)


def test_averages_are_refused():
    with pytest.raises(ValueError, match="thin=True changes parameters, which averaged weights"):
        train(module(), pruning(), StochasticWeightAveraging(1e-2, swa_epoch_start=1))


@pytest.mark.parametrize("thin", [(True, True), (True, False), (False, True)])
def test_two_prunings_are_refused(thin):
    """One would hold masks of parameters that the other renewed."""
    callbacks = [
        pruning(thin=thin[0], layers=LayerFilter(include="net.0")),
        pruning(thin=thin[1], layers=LayerFilter(include="net.3")),
    ]
    with pytest.raises(ValueError, match="thin=True renews parameters, which another Pruning"):
        train(module(), *callbacks)
