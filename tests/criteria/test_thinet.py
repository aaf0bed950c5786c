"""ThiNet: what the next layer loses, the order by hand, and the fit of what stays."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune.allocations import Uniform
from lightning_prune.criteria import ThiNet
from lightning_prune.criteria.contributions import contribution_gram
from lightning_prune.criteria.thinet import least_squares, removal_places
from lightning_prune.methods import Method
from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.layers import find_layers
from lightning_prune.network.network import Network
from lightning_prune.prune import prune, watch
from lightning_prune.structures import Filters, Weights

# contributions of four channels to two outputs
CONTRIBUTIONS = torch.tensor([[3, 1, -1, 0.5], [3, -1, 1.1, 0.5]]).double()


def layer_of(module):
    (layer,) = find_layers(nn.Sequential(module))
    return layer


def reader(weight):
    """A linear layer, and the group of its inputs."""
    module = nn.Linear(weight.shape[1], weight.shape[0])
    module.weight.data = weight.to(module.weight.dtype)
    layer, units = layer_of(module), torch.arange(weight.shape[1])
    return layer, Group("made", (layer,), (Slice("0", module, "weight", 1, units),), len(units))


def seen(criterion, layer, *values):
    criterion.reset()
    for value in values:
        criterion.observe(layer, value)


def error(columns, removed):
    return float(columns[:, list(removed)].sum(1).square().sum())


def naive_order(columns):
    """Try every channel at every step, from the contributions themselves."""
    removed = []
    while len(removed) < columns.shape[1]:
        left = [c for c in range(columns.shape[1]) if c not in removed]
        removed.append(min(left, key=lambda c: error(columns, [*removed, c])))
    return removed


def one_by_one(module, value):
    """(outputs, channels): the module's outputs for every channel of its input alone, no bias."""
    quiet = copy.deepcopy(module).double()
    quiet.bias = None
    at = -1 if isinstance(module, nn.Linear) else value.dim() - module.weight.dim() + 1
    columns = []
    for channel in range(value.shape[at]):
        alone = torch.zeros_like(value).double()
        alone.select(at, channel).copy_(value.select(at, channel))
        columns.append(quiet(alone).flatten())
    return torch.stack(columns, 1).detach()


def test_the_order_by_hand():
    """First the fourth, for .5; then the second, for 2.5. (Second and third would cost .01.)"""
    layer, group = reader(CONTRIBUTIONS)
    criterion = ThiNet()
    seen(criterion, layer, torch.ones(1, 4))
    places = criterion.group_score(group, Weights())
    assert places[[3, 1]].tolist() == [0.25, 0.5]
    assert error(CONTRIBUTIONS, [3]) == pytest.approx(0.5)
    assert error(CONTRIBUTIONS, [3, 1]) == pytest.approx(2.5)
    assert error(CONTRIBUTIONS, [1, 2]) == pytest.approx(0.01)
    assert torch.equal(criterion.score(layer, Weights()), places)


def test_large_contributions_stay():
    """Channels of sizes 9, 1, .1 and .01 leave from the last: not the other way round."""
    draw = torch.Generator().manual_seed(0)
    columns = torch.randn(200, 4, generator=draw).double() * torch.tensor([9, 1, 0.1, 0.01])
    assert removal_places(columns.mT @ columns).tolist() == [1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("trial", range(5))
def test_the_order_from_inner_products_is_that_of_trying_all(trial):
    columns = torch.randn(30, 9, generator=torch.Generator().manual_seed(trial)).double()
    places = removal_places(columns.mT @ columns)
    assert places.argsort().tolist() == naive_order(columns)


def test_silent_channels_leave_first_and_the_later_of_equal_ones():
    columns = torch.tensor([[2.0, 0, 2, 0, 1]]).double()
    assert removal_places(columns.mT @ columns).argsort().tolist()[:2] == [3, 1]
    twins = torch.eye(3).double()
    assert removal_places(twins).argsort().tolist() == [2, 1, 0]


def test_the_fit_by_hand():
    """Of the first and third is kept (1.182540, .047619), and nothing is lost."""
    gram = CONTRIBUTIONS.mT @ CONTRIBUTIONS
    kept = torch.tensor([True, False, True, False])
    factors = least_squares(gram, kept, 0.0)
    assert torch.allclose(factors[kept], torch.tensor([1.182540, 0.047619]).double(), atol=1e-6)
    plain = (CONTRIBUTIONS * ~kept).sum(1)
    assert torch.allclose(plain, torch.tensor([1.5, -0.5]).double())
    rest = CONTRIBUTIONS.sum(1) - (CONTRIBUTIONS * kept * factors).sum(1)
    assert rest.abs().max() < 1e-12
    assert torch.allclose(least_squares(gram, kept, 1e-6), factors, atol=1e-4)
    assert torch.allclose(least_squares(gram, kept, 1e9), torch.ones(4).double(), atol=1e-6)


def test_the_fit_is_the_least_squares_of_the_contributions():
    columns = torch.randn(50, 7, generator=torch.Generator().manual_seed(1)).double()
    kept = torch.tensor([1, 0, 1, 1, 0, 0, 1]).bool()
    wanted = torch.linalg.lstsq(columns[:, kept], columns.sum(1, keepdim=True)).solution[:, 0]
    found = least_squares(columns.mT @ columns, kept, 0.0)
    assert torch.allclose(found[kept], wanted)
    assert (found[~kept] == 1).all()


def test_twins_and_silent_channels_have_finite_factors_that_are_not_zero():
    """Of twins one takes the other's part; of a channel without contribution nothing is known."""
    columns = torch.tensor([[1.0, 1, 0, 2], [2, 2, 0, 0]]).double()
    for kept in ([1, 0, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]):
        kept = torch.tensor(kept).bool()
        factors = least_squares(columns.mT @ columns, kept, 1e-6)
        assert factors.isfinite().all()
        assert (factors != 0).all()
        assert factors[2] == pytest.approx(1)
    one = least_squares(columns.mT @ columns, torch.tensor([1, 0, 1, 1]).bool(), 1e-6)
    assert one[0] == pytest.approx(2, abs=1e-4)


def test_rescaled_gains_keep_their_zeros_and_everything_is_left_alone():
    layer, group = reader(CONTRIBUTIONS)
    criterion = ThiNet()
    seen(criterion, layer, torch.ones(1, 4))
    gains = criterion.rescaled(group, Weights(), torch.tensor([1.0, 0, 1, 0]))
    assert gains.tolist() == pytest.approx([1.18254, 0, 0.047619, 0], abs=1e-4)
    for same in (torch.ones(4), torch.zeros(4)):
        assert torch.equal(criterion.rescaled(group, Weights(), same), same)
    plain = ThiNet(rescale=False)
    seen(plain, layer, torch.ones(1, 4))
    some = torch.tensor([1.0, 0, 1, 0])
    assert torch.equal(plain.rescaled(group, Weights(), some), some)


CASES = {
    "linear": (nn.Linear(5, 4), (6, 5)),
    "tokens": (nn.Linear(5, 4), (3, 2, 5)),
    "stride": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (3, 4, 7, 8)),
    "dilation": (nn.Conv2d(4, 6, (3, 2), dilation=(2, 1), padding=(0, 2)), (2, 4, 7, 8)),
    "same": (nn.Conv2d(4, 6, 4, padding="same"), (2, 4, 6, 6)),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 6, 6)),
    "reflect": (nn.Conv1d(4, 6, 3, padding=2, padding_mode="reflect"), (2, 4, 9)),
    "unbatched": (nn.Conv2d(4, 6, 3), (4, 6, 6)),
    "volume": (nn.Conv3d(3, 4, 2, padding=(1, 0, 0)), (2, 3, 4, 4, 4)),
    "groups": (nn.Conv2d(6, 4, 3, groups=2, bias=False), (2, 6, 5, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4), (2, 4, 5, 5)),
    "transposed": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        (2, 4, 5, 4),
    ),
    "transposed groups": (nn.ConvTranspose1d(4, 6, 4, stride=3, dilation=2, groups=2), (2, 4, 5)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("case", CASES)
def test_inner_products_are_those_of_the_contributions(case):
    """As if the layer were called with every channel alone; signed inputs, all outputs."""
    module, shape = CASES[case]
    value = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    columns = one_by_one(module, value)
    found = contribution_gram(layer_of(module), value)
    assert found.dtype == torch.float64
    assert torch.allclose(found, columns.mT @ columns, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("split", [(1, 1, 1, 5), (4, 4), (8,)])
def test_batches_of_any_size_in_any_order_give_the_same(split):
    module, value = nn.Conv2d(5, 4, 3), torch.randn(8, 5, 6, 6)
    layer, criterion = layer_of(module), ThiNet()
    seen(criterion, layer, value)
    whole = criterion.seen[layer.name]
    seen(criterion, layer, *value[torch.randperm(8)].split(split))
    assert torch.allclose(criterion.seen[layer.name], whole, rtol=1e-12)


def test_half_precision_and_autocast_are_taken_in_double():
    module, value = nn.Linear(6, 3), torch.randn(4, 6)
    layer = layer_of(module)
    whole = contribution_gram(layer, value)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contribution_gram(layer, value), whole)
    coarse = contribution_gram(layer, value.bfloat16())
    assert torch.equal(coarse, contribution_gram(layer, value.bfloat16().float()))


def test_several_readers_and_several_columns_of_a_unit_are_taken_together():
    """A stream that two layers read, the second behind a flatten of two places a channel."""
    one, two = nn.Linear(3, 4), nn.Linear(6, 5)
    model = nn.ModuleList([one, two])
    layers = find_layers(model)
    places = torch.arange(3).repeat_interleave(2)
    slices = (
        Slice("0", one, "weight", 1, torch.arange(3)),
        Slice("1", two, "weight", 1, places),
    )
    group, criterion = Group("stream", tuple(layers), slices, 3), ThiNet()
    criterion.reset()
    first, second = torch.randn(8, 3), torch.randn(8, 6)
    criterion.observe(layers[0], first)
    criterion.observe(layers[1], second)
    outer = one_by_one(two, second)
    joined = torch.stack([outer[:, places == unit].sum(1) for unit in range(3)], 1)
    columns = torch.cat([one_by_one(one, first), joined])
    assert criterion.group_score(group, Weights()).argsort().tolist() == naive_order(columns)


def test_columns_of_other_groups_do_not_count():
    layer, _ = reader(CONTRIBUTIONS)
    part = Slice("0", layer.module, "weight", 1, torch.tensor([-1, 0, 1, -1]))
    group, criterion = Group("made", (layer,), (part,), 2), ThiNet()
    seen(criterion, layer, torch.ones(1, 4))
    wanted = removal_places(CONTRIBUTIONS[:, 1:3].mT @ CONTRIBUTIONS[:, 1:3])
    assert torch.equal(criterion.group_score(group, Weights()), wanted)


def test_a_batch_of_zeros_has_an_order_and_no_factor():
    layer, group = reader(CONTRIBUTIONS)
    criterion = ThiNet()
    seen(criterion, layer, torch.zeros(3, 4))
    assert criterion.group_score(group, Weights()).argsort().tolist() == [3, 2, 1, 0]
    some = torch.tensor([1.0, 0, 1, 1])
    assert torch.equal(criterion.rescaled(group, Weights(), some), some)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="ridge of 0 or more"):
        ThiNet(ridge=-1.0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=r"use the structure Channels|defined for Channels"):
        prune(
            model,
            Method(ThiNet(), Filters(), Uniform()),
            0.6,
            loader=[torch.randn(8, 4)],
        )


class Net(nn.Module):
    """A convolution, a norm, a rectifier, and two readers: one of each kind."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.head = nn.Conv2d(8, 6, 3), nn.Linear(6 * 16, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        return self.head(F.relu(self.second(x)).flatten(1))


def test_fitted_channels_are_closer_to_the_dense_layer_than_plain_ones():
    """Through the public call; the second layer's outputs on the data that were watched."""
    structures = pytest.importorskip("lightning_prune.structures.channels")
    torch.manual_seed(0)
    dense, images = Net().eval(), torch.randn(16, 2, 6, 6)
    outputs, errors = [], {}
    for net, name in (
        (dense, "dense"),
        (copy.deepcopy(dense), "fit"),
        (copy.deepcopy(dense), "plain"),
    ):
        if name != "dense":
            method = Method(ThiNet(rescale=name == "fit"), structures.Channels(), Uniform())
            report = prune(net, method, 0.5, loader=[images[:8], images[8:]])
            assert report.left <= 0.5 * report.dense
        with torch.no_grad():
            outputs.append(net.second(F.relu(net.norm(net.first(images)))))
        errors[name] = float((outputs[-1] - outputs[0]).square().sum())
    assert errors["fit"] < errors["plain"]


def test_the_order_through_the_network_is_the_naive_one():
    structures = pytest.importorskip("lightning_prune.structures.channels")
    torch.manual_seed(0)
    net, images, criterion = Net().eval(), torch.randn(12, 2, 6, 6), ThiNet()
    network = Network(net, None, lambda: net(images), 12)
    groups = structures.Channels().groups(network.layers, network.graph)
    watch(network, criterion, [images[:5], images[5:]], lambda x, _: net(x))
    made = next(group for group in groups if group.size == 8)
    read = F.relu(net.norm(net.first(images)))
    columns = one_by_one(net.second, read.detach())
    assert criterion.group_score(made, structures.Channels()).argsort().tolist() == naive_order(
        columns
    )
