"""Every method of the table against its data: which it reads, and what does not matter to it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Samples, methods, prune
from lightning_prune.criteria import (
    ActivationCriterion,
    DataCriterion,
    GradientCriterion,
    SyntheticCriterion,
    Taylor,
)
from lightning_prune.lowrank import factored
from lightning_prune.models import ResNet

# a pattern leaves what it leaves, and what regrows is zero at first: masks do not show it
NAMES = sorted(
    name
    for name, method in methods().items()
    if method and method.allocation.cuts and not method.criterion.regrows
)
CRITERIA = {name: methods()[name].criterion for name in NAMES}
SYNTHETIC = [name for name in NAMES if isinstance(CRITERIA[name], SyntheticCriterion)]
READS_DATA = [n for n in NAMES if isinstance(CRITERIA[n], DataCriterion) and n not in SYNTHETIC]
READS_LABELS = [name for name in READS_DATA if isinstance(CRITERIA[name], GradientCriterion)]

DRAW = torch.Generator().manual_seed(0)
# images with a structure: every channel, and every half of it, has another strength
IMAGES = torch.randn(48, 2, 6, 6, generator=DRAW).double()
IMAGES[:, 0] *= 3
IMAGES[:, :, :3] *= 0.2
LABELS = torch.arange(48) % 3


def net():
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(48, 10), nn.ReLU(), nn.Linear(10, 3),
    )  # fmt: skip
    return model.double()


def mask(name, *arguments, **options):
    """Which parameters one pruning of the network leaves, as one vector."""
    return left_of(pruned(name, *arguments, **options))


def left_of(model):
    """Where a model is not zero; of factored layers the weights, to nine digits."""
    if not any(True for _ in factored(model)):
        return torch.cat([p.flatten() != 0 for p in model.parameters()])
    weights = [m.weight.detach().flatten() for m in model if hasattr(m, "weight")]
    return torch.cat(weights).mul(1e9).round()


def pruned(name, images=IMAGES, labels=LABELS, *, size=16, shuffle=False, batches=8, keep=0.4):
    """The network after one pruning."""
    model = net()
    torch.manual_seed(2)  # of a loader that shuffles
    data = DataLoader(TensorDataset(images, labels), size, shuffle=shuffle)
    loss = None
    if name in READS_LABELS:
        loss = lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
    prune(model, name, keep, loader=data, loss=loss, batches=batches)
    assert all(p.isfinite().all() for p in model.parameters())
    return model


@pytest.fixture(scope="module")
def usual():
    return {name: mask(name) for name in NAMES}


def test_labels_are_read_by_these_alone():
    assert set(READS_LABELS) >= {"snip", "snip_filters", "taylor"}
    assert {"synflow", "magnitude"}.isdisjoint(READS_LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_noise_in_place_of_the_data_changes_what_data_inform(name, usual):
    noise = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(3)).double()
    assert torch.equal(mask(name, noise), usual[name]) == (name not in READS_DATA)


@pytest.mark.parametrize("name", NAMES)
def test_other_labels_change_what_labels_inform(name, usual):
    other = LABELS.roll(1)
    assert torch.equal(mask(name, labels=other), usual[name]) == (name not in READS_LABELS)


@pytest.mark.parametrize("name", [n for n in READS_DATA if n not in READS_LABELS])
def test_labels_need_not_even_be_there(name, usual):
    model = net()
    prune(model, name, 0.4, loader=DataLoader(IMAGES, 16))
    assert torch.equal(left_of(model), usual[name])


@pytest.mark.parametrize("name", READS_DATA)
def test_data_of_zeros_are_no_error(name):
    dense = sum(p.numel() for p in net().parameters())
    left = sum(p.count_nonzero() for p in pruned(name, torch.zeros_like(IMAGES)).parameters())
    assert 0 < left <= 0.4 * dense


@pytest.mark.parametrize("name", READS_DATA)
def test_a_loader_that_shuffles_gives_the_same_mask(name, usual):
    assert torch.equal(mask(name, shuffle=True), usual[name])


@pytest.mark.parametrize("name", READS_DATA)
@pytest.mark.parametrize(
    "amount",
    [
        pytest.param(Samples(32), id="number"),
        pytest.param(Samples(), id="failure", marks=pytest.mark.slow),
    ],
)
def test_batches_of_another_size_give_the_same_mask(name, amount):
    if isinstance(CRITERIA[name], Taylor):
        pytest.skip("a square of every mini-batch is what Taylor is")
    masks = [mask(name, size=size, batches=amount) for size in (48, 16, 5, 1)]
    assert all(torch.equal(other, masks[0]) for other in masks)


@pytest.mark.parametrize("name", READS_DATA)
def test_batches_in_another_order_give_the_same_mask(name):
    pairs = list(zip(IMAGES.split(12), LABELS.split(12), strict=True))
    left = []
    for order in (pairs, pairs[::-1]):
        model, loss = net(), None
        if name in READS_LABELS:
            loss = lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
        prune(model, name, 0.4, loader=order, loss=loss)
        left.append(left_of(model))
    assert torch.equal(*left)


@pytest.mark.parametrize("name", READS_DATA)
def test_the_network_and_the_streams_are_as_before_but_for_what_left(name):
    model = net()
    before, stream = [p.clone() for p in model.parameters()], torch.get_rng_state()
    loss = lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
    loss = loss if name in READS_LABELS else None
    prune(model, name, 1.0, loader=DataLoader(TensorDataset(IMAGES, LABELS), 16), loss=loss)
    assert all(map(torch.equal, model.parameters(), before))
    assert torch.equal(torch.get_rng_state(), stream)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_a_gradient_needs_a_loss_and_an_activation_only_data():
    for name in READS_DATA:
        with pytest.raises(ValueError, match=r"needs data: give loader=\.\.\."):
            prune(net(), name, 0.4, example=IMAGES)
    for name in READS_LABELS:
        with pytest.raises(ValueError, match=r"needs gradients: give loss="):
            prune(net(), name, 0.4, loader=[(IMAGES, LABELS)])


class Nested(nn.Sequential):
    """Takes a dict, in which the images lie in a tuple; its layers have the usual names."""

    def forward(self, images, target=None):
        return super().forward(images[0])


@pytest.mark.parametrize("name", READS_DATA)
def test_nested_batches_are_handed_on_in_their_form(name, usual):
    data = [
        {"images": (image, [0]), "target": label}
        for image, label in zip(IMAGES, LABELS, strict=True)
    ]
    model = Nested(*net())
    loss = None
    if name in READS_LABELS:
        loss = lambda m, batch: F.cross_entropy(m(**batch), batch["target"])  # noqa: E731
    prune(model, name, 0.4, loader=DataLoader(data, 16), loss=loss)
    left = left_of(model)
    assert torch.equal(left, usual[name])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    "name", [n for n in READS_DATA if isinstance(CRITERIA[n], ActivationCriterion)]
)
def test_recurrence_is_refused_by_name_where_inputs_are_watched(name, kind):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.memory, self.head = kind(4, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.memory(x)[0])

    with pytest.raises(ValueError, match=rf"'memory' \({kind.__name__}\).*exclude='memory\*'"):
        prune(Tagger(), name, 0.9, loader=[torch.randn(2, 5, 4)])


class Separable(nn.Sequential):
    """Depthwise convolutions with norms."""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 12, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
        )  # fmt: skip


class Attentive(nn.Module):
    """A block of a transformer, with a linear layer for every projection."""

    shape = (5, 8)

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.out, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.mix = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        parts = [f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in (self.query, self.key)]
        value = self.value(x).unflatten(-1, (2, 4)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(*parts, value).transpose(1, 2).flatten(2)
        x = self.norm(x + self.out(mixed))
        return self.head((x + self.mix(x)).mean(1))


class Small(ResNet):
    """ResNet-20 of narrow stages."""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__(20, (4, 6, 8), classes=3)


@pytest.mark.parametrize("kind", [Small, Separable, Attentive])
@pytest.mark.parametrize("name", [*READS_DATA, *SYNTHETIC])
def test_it_works_on_networks_of_many_kinds(name, kind):
    model = kind()
    x, y = torch.randn(12, *kind.shape), torch.arange(12) % 3
    loss = lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
    loss = loss if name in READS_LABELS else None
    report = prune(model, name, 0.7, loader=[(x, y)], loss=loss)
    assert 0.5 < report.keep <= 0.7  # channels of a few layers, and heads, are large steps
    assert model.eval()(x).isfinite().all()
