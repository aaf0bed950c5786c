"""Every method of the table prunes every network of continuous depth, or says why it cannot."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Pruning, Steps, methods, prune
from lightning_prune.models import CNF, ImageFlow, MLPField, ODEClassifier, ODENet, TabularFlow
from lightning_prune.network.layers import find_layers
from lightning_prune.solve import Solver
from lightning_prune.structures import Blocks, Pattern, Weights
from lightning_prune.tasks import Classification, Density

NAMES = [name for name, method in methods().items() if method is not None]
RK4, ADJOINT = Solver(steps=2), Solver(steps=2, gradient="adjoint")
SAMPLES = 24


def cnf(solver):
    return CNF(MLPField(hidden=[8, 8]), solver=solver)


# by name: how it is made, the shape of a sample, and whether it is a flow
MODELS = {
    "classifier": (lambda: ODEClassifier(hidden=[8, 8], solver=RK4), (2,), False),
    "augmented": (
        lambda: ODEClassifier(hidden=[8, 8], augment=2, time=True, solver=RK4), (2,), False,
    ),
    "ode net": (lambda: ODENet(width=4, classes=2, solver=Solver(steps=1)), (1, 6, 6), False),
    "cnf": (partial(cnf, RK4), (2,), True),
    "cnf adjoint": (partial(cnf, ADJOINT), (2,), True),
    "tabular": (lambda: TabularFlow(4, factor=2, solver=RK4), (4,), True),
    "images": (lambda: ImageFlow((1, 4, 4), [8], 1, scales=2, solver=RK4), (1, 4, 4), True),
}  # fmt: skip

FLOWS = [name for name, (_, _, flow) in MODELS.items() if flow]
KEEP = 0.6
# what can be reached where that is out of reach: a pattern halves what it divides; group norms
# hold three of four layers' filters; blocks keep one of four by four in every layer
KEEPS = {(model, "pattern_2_4"): 0.75 for model in MODELS}
KEEPS |= {
    ("ode net", name): 0.8
    for name in NAMES
    if methods()[name].structure.structured and not isinstance(methods()[name].structure, Blocks)
}
# three clusters of columns have three bases at least
KEEPS |= {(model, "messi"): 0.85 for model in MODELS}
KEEPS |= {("ode net", "pattern_2_4"): 0.9, ("tabular", "block_magnitude"): 0.7}

REFUSALS = {
    # a log density is no sum of paths through the weights, and is negative
    **{(model, "synflow"): "SynFlow finds a flow of -.* needs a positive one" for model in FLOWS},
    # time is one more channel of every layer, so that 4 divides none of them
    ("images", "pattern_2_4"): "No layer divides into blocks of 4 inputs",
}
PAIRS = [(model, name) for model in MODELS for name in NAMES]
# rows that differ from another one in an error or a cost only
VARIANTS = ("svd_nuclear", "svd_error", "alds_sqrt_k", "alds_max", "alds_energy", "l_rank")
SLOW = ("ode net", "cnf adjoint", "images")  # with every method; with a few they are quick


def pairs():
    """Those that are not refused, the slower networks marked."""
    for model, name in PAIRS:
        if (model, name) not in REFUSALS:
            marks = [pytest.mark.slow] if model in SLOW or name in VARIANTS else []
            yield pytest.param(model, name, marks=marks)


def made(name):
    """A network none of whose parameters is zero, with its batches and their loss."""
    make, shape, flow = MODELS[name]
    torch.manual_seed(0)
    net, points = make(), torch.rand(SAMPLES, *shape)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter[parameter == 0] = 0.1
    labels = torch.arange(SAMPLES) % 2
    data = list(zip(points.split(12), labels.split(12), strict=True))
    return net, data, density if flow else entropy


def density(net, batch):
    return -net.log_prob(batch[0]).mean()


def entropy(net, batch):
    return F.cross_entropy(net(batch[0]), batch[1])


def nonzero(net):
    return sum(int(p.count_nonzero()) for p in net.parameters())


def largest(net):
    """No unit has more: a row, what lies on it, and the columns that read it."""
    weights = [layer.weight for layer in find_layers(net)]
    return max(w[0].numel() for w in weights) + max(w[:, 0].numel() for w in weights) + 4


@pytest.mark.parametrize(("model", "name"), list(pairs()))
def test_it_reaches_its_keep_and_goes_on_training(model, name):
    net, data, loss = made(model)
    method, keep = methods()[name], KEEPS.get((model, name), KEEP)
    dense, before = nonzero(net), [p.detach().clone() for p in net.parameters()]
    report = prune(net, name, keep, loader=data, loss=loss)
    target = int(keep * dense)
    if type(method.structure) is Weights and not method.structure.clean:
        assert report.left == target
    else:
        assert target - largest(net) < report.left <= target
    assert nonzero(net) == report.left or method.criterion.regrows
    assert nonzero(net) <= report.left
    pruned = [p.detach().clone() for p in net.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(before, pruned, strict=True))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    start = loss(net, data[0])
    start.backward()
    assert start.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(pruned, net.parameters(), strict=True))
    assert loss(net, data[0]).isfinite()


@pytest.mark.parametrize(("model", "name"), REFUSALS)
def test_what_cannot_be_is_refused_in_one_sentence_and_changes_nothing(model, name):
    net, data, loss = made(model)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(ValueError, match=REFUSALS[model, name]) as told:
        prune(net, name, KEEPS.get((model, name), KEEP), loader=data, loss=loss)
    assert "\n" not in str(told.value)
    assert str(told.value).endswith(".")
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
    assert loss(net, data[0]).isfinite()


@pytest.mark.parametrize("model", [m for m in MODELS if (m, "pattern_2_4") not in REFUSALS])
def test_a_pattern_leaves_two_of_every_four_inputs(model):
    net, data, _ = made(model)
    prune(net, "pattern_2_4", KEEPS[model, "pattern_2_4"], loader=data)
    structure = methods()["pattern_2_4"].structure
    assert isinstance(structure, Pattern)
    divided = [x.weight for x in find_layers(net) if x.weight.shape[1] % structure.m == 0]
    assert divided
    for weight in divided:
        fours = weight.movedim(1, -1).unflatten(-1, (-1, structure.m))
        assert bool(((fours != 0).sum(-1) == structure.n).all())


class Zeros(pl.Callback):
    """Which entries of which parameters are zero, at the end of every batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append([p == 0 for p in pl_module.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["magnitude_clean", "snip", "taylor"])
@pytest.mark.parametrize("model", MODELS)
def test_a_trainer_holds_what_is_gone(model, name):
    net, data, _ = made(model)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    task = Density(net, optimizer) if hasattr(net, "log_prob") else Classification(
        net, optimizer, classes=2
    )  # fmt: skip
    points, labels = (torch.cat(part) for part in zip(*data, strict=True))
    loader = DataLoader(TensorDataset(points, labels), 12)
    last = KEEPS.get((model, name), KEEP)
    pruning, zeros = Pruning(name, Steps({1: 0.9, 2: last}), verbose=False), Zeros()
    pl.Trainer(
        max_epochs=3, accelerator="cpu", devices=1, logger=False, callbacks=[pruning, zeros],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0,
    ).fit(task, loader, loader)  # fmt: skip
    assert len(zeros.seen) == 6
    assert not any(flags.any() for flags in zeros.seen[1]), "nothing before the first event"
    for before, after in zip(zeros.seen[2:], zeros.seen[3:], strict=False):
        assert all(bool((now | ~gone).all()) for gone, now in zip(before, after, strict=True))
    event = pruning.events[-1]
    assert nonzero(net) == event["left"] <= last * event["dense"]
