"""Numbers from elsewhere: worked examples, and the published SiPP, image by image."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune import Method, methods, prune
from lightning_prune.allocations import Threshold, WaterFilling
from lightning_prune.allocations.distinct import expected_distinct
from lightning_prune.criteria import SiPP, ThiNet
from lightning_prune.network.network import Network
from lightning_prune.prune import watch
from lightning_prune.structures import Channels, Weights

# rows (2 1 1) and (1 -3 2); inputs (1 1 2) and (1 3 0)
WEIGHT = [[2.0, 1.0, 1.0], [1.0, -3.0, 2.0]]
DATA = torch.tensor([[1.0, 1.0, 2.0], [1.0, 3.0, 0.0]])


def linear(weight):
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    return layer


def behind_identity(reader):
    """The reader's inputs are channels that a layer makes, which hands them on as they are."""
    if isinstance(reader, nn.Linear):
        maker = linear(torch.eye(reader.in_features).tolist())
    else:
        maker = nn.Conv2d(reader.in_channels, reader.in_channels, 1, bias=False)
        nn.init.dirac_(maker.weight)
    return nn.Sequential(maker, reader)


def seen(net, criterion, data):
    """By layer, what the criterion observed."""
    watch(Network(net), criterion, [data], lambda batch, _: net(batch))
    return criterion.seen


def channel_scores(net, method, data):
    """By the layer that makes them."""
    network = Network(net, None, lambda: net(data), len(data))
    structure, criterion = method.structure, method.criterion
    groups = structure.groups(network.layers, network.graph)
    watch(network, criterion, data.split(3), lambda batch, _: net(batch))
    return {
        group.name: structure.combine(
            group, {x.name: criterion.score(x, structure) for x in group.layers}
        )
        for group in groups
    }


def test_sums_of_shares_by_filter_and_sign():
    """.4 + .6 + .4 of the first filter; 1 + .8 of the second's positive weights, 1 of the other."""
    shares = seen(linear(WEIGHT), SiPP(), DATA)[""]
    positive = torch.tensor(WEIGHT) > 0
    assert (shares * positive).sum(1).tolist() == pytest.approx([1.4, 1.8])
    assert (shares * ~positive).sum(1).tolist() == pytest.approx([0.0, 1.0])


def test_channels_score_the_largest_share_in_what_reads_them():
    """Columns (.4 1), (.6 1), (.4 .8)."""
    net = behind_identity(linear(WEIGHT))
    scores = channel_scores(net, methods()["pfp"], DATA)
    assert scores["0"].tolist() == pytest.approx([1, 1, 0.8])
    prune(net, "pfp", 2 / 3, loader=[DATA])
    assert net[1].weight.tolist() == [[2, 1, 0], [1, -3, 0]]
    assert net[0].weight.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(("patches", "score"), [("mean", 0.625), ("max", 1.0)])
def test_channels_of_a_convolution_score_their_largest_place(patches, score):
    """Filters (1 1) at the patches (1 3), (3 0): .625 and .375, or 1 and .75; one channel is 0."""
    reader = nn.Conv2d(2, 1, (1, 2), bias=False)
    nn.init.ones_(reader.weight)
    method = Method(SiPP(patches), Channels("max"), methods()["pfp"].allocation)
    image = torch.tensor([[[[1.0, 3.0, 0.0]], [[0.0, 0.0, 0.0]]]])
    found = channel_scores(behind_identity(reader), method, image)
    assert found["0"].tolist() == pytest.approx([score, 0.0])


def test_magnitudes_keep_others_of_these_weights_and_the_first_of_equal_ones():
    layer = linear(WEIGHT)
    prune(layer, "magnitude", 4 / 6)
    assert layer.weight.tolist() == [[2, 1, 0], [0, -3, 2]]


def test_nine_outcomes_of_two_draws_are_right_on_average():
    """Two draws from (2 3 2) / 7 with replacement: a weight drawn n times has the gain n / 2p.

    Shares of the first input are (.4 .2 .4). A draw estimates its sum by the share over p, which
    is 1.4, .4667 or 1.4: 1 on average, with the variance .21333, and at most the sum of shares.
    """
    row, p = WEIGHT[0], (2 / 7, 3 / 7, 2 / 7)
    outcomes = {}
    for pair in itertools.product(range(3), repeat=2):
        gains = tuple(pair.count(j) / 2 / p[j] for j in range(3))
        outcomes[gains] = outcomes.get(gains, 0) + p[pair[0]] * p[pair[1]]
    found = {}
    for seed in range(40):
        layer = linear([row])
        drawn = WaterFilling("random", seed=seed, replace=True)
        prune(layer, Method(SiPP("max"), Weights(), drawn), 2 / 3, loader=[DATA])
        gains = tuple((layer.weight[0] / torch.tensor(row)).tolist())
        (known,) = [each for each in outcomes if gains == pytest.approx(each)]
        found[known] = layer.weight.detach()[0]
    assert set(found) == set(outcomes)
    assert sum(outcomes[g] * found[g] for g in found).tolist() == pytest.approx(row)
    errors = {g: float(found[g] @ DATA[0]) / 5 - 1 for g in found}
    assert max(errors.values()) == pytest.approx(0.4)
    assert min(errors.values()) == pytest.approx(0.46667 - 1, abs=1e-5)
    variance = sum(outcomes[g] * errors[g] ** 2 for g in found)
    assert variance == pytest.approx(0.21333 / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("p", "wanted"),
    [
        ((0.5, 0.25, 0.125, 0.125), [1, 1.656, 2.449, 3.209, 3.754]),
        ((0.7, 0.1, 0.1, 0.1), [1, 1.48, 2.024, 2.709, 3.444]),
    ],
)
def test_distinct_channels_of_1_2_4_8_and_16_draws(p, wanted):
    draws = torch.tensor([1, 2, 4, 8, 16])
    found = expected_distinct(torch.tensor(p, dtype=torch.float64), draws)
    assert found.tolist() == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize(
    ("rescale", "weight", "outputs"),
    [
        (True, [[3 * 1.182540, -0.047619], [3 * 1.182540, 1.1 * 0.047619]], [3.5, 3.6]),
        (False, [[3, -1], [3, 1.1]], [2, 4.1]),
    ],
    ids=["rescaled", "as they are"],
)
def test_two_of_four_channels_with_nothing_lost_once_rescaled(rescale, weight, outputs):
    """Contributions (3 1 -1 .5) and (3 -1 1.1 .5): first the fourth leaves, then the second."""
    net = behind_identity(linear([[3.0, 1.0, -1.0, 0.5], [3.0, -1.0, 1.1, 0.5]]))
    ones = torch.ones(1, 4)
    assert net(ones)[0].tolist() == pytest.approx([3.5, 3.6])
    method = Method(ThiNet(rescale), Channels(), methods()["thinet"].allocation)
    prune(net, method, 0.5, loader=[ones])
    left = net[1].weight.detach()
    assert not left[:, [1, 3]].any()
    assert torch.allclose(left[:, [0, 2]], torch.tensor(weight), atol=1e-4)
    assert net(ones)[0].tolist() == pytest.approx(outputs, abs=1e-4)


LEAST = torch.finfo(torch.float32).eps


def published(module, image, patches):
    """Sensitivities of a convolution for one image, by the published algorithm.

    One filter after the other, on unfolded patches; the negative part of the activations is a
    second data point, and sums of at most the machine epsilon count as zero.
    """
    columns = F.unfold(
        image[None], module.kernel_size, padding=module.padding, stride=module.stride
    )[0]
    rows = []
    for filter_ in module.weight.detach().flatten(1):
        best = torch.zeros_like(filter_)
        for part, point in itertools.product((filter_, -filter_), (columns, -columns)):
            products = part.clamp_min(0)[:, None] * point.clamp_min(0)
            total = products.sum(0)
            active = total > LEAST
            share = torch.zeros_like(products)
            share[:, active] = products[:, active] / total[active]
            best = torch.maximum(best, share.mean(1) if patches == "mean" else share.amax(1))
        rows.append(best)
    return torch.stack(rows).view_as(module.weight)


def strided():
    """Three convolutions with strides and paddings, and signed images for them."""
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1), nn.Tanh(),
        nn.Conv2d(8, 5, (3, 2), stride=(1, 2), padding=(2, 1)),
    )  # fmt: skip
    return net, torch.randn(7, 3, 9, 8)


@torch.no_grad()
def reference(net, images, patches):
    """By layer, the largest over the images, which go through the network one by one."""
    found = {}
    for image in images:
        value = image
        for name, module in net.named_children():
            if isinstance(module, nn.Conv2d):
                now = published(module, value, patches)
                found[name] = torch.maximum(found.get(name, now), now)
            value = module(value[None])[0]
    return found


@pytest.mark.parametrize("patches", ["mean", "max"])
def test_sensitivities_are_those_of_the_published_algorithm(patches):
    """Baykal et al., 2019, arXiv 1910.05422, written anew from its description."""
    net, images = strided()
    wanted = reference(net, images, patches)
    found = seen(net, SiPP(patches), images)
    assert list(found) == list(wanted) == ["0", "2", "4"]
    for name, share in wanted.items():
        assert torch.allclose(found[name], share, rtol=0, atol=1e-5), name
        assert 0 < share.mean() < 1


@pytest.mark.parametrize("keep", [0.6, 0.3])
def test_what_is_left_are_the_largest_of_the_published_sensitivities(keep):
    """Baykal et al., 2019, arXiv 1910.05422: one cut of the shares of all layers together."""
    net, images = strided()
    scores = torch.cat([s.flatten() for s in reference(net, images, "mean").values()])
    biases = sum(p.numel() for name, p in net.named_parameters() if name.endswith("bias"))
    count = int(keep * (len(scores) + biases)) - biases
    ordered = scores.sort(descending=True).values
    assert ordered[count - 1] > ordered[count]
    prune(net, Method(SiPP(), Weights(), Threshold(floor=0)), keep, loader=images.split(3))
    kept = torch.cat([net[i].weight.flatten() != 0 for i in (0, 2, 4)])
    certain = (scores - ordered[count]).abs() > 1e-5
    assert int(kept.sum()) == count
    assert (~certain).sum() < 4
    assert torch.equal(kept[certain], (scores > ordered[count])[certain])


def test_channels_score_the_largest_published_share_in_what_reads_them():
    """Over all filters and places of the next layer: Liebenwein et al., 2020, arXiv 1911.07412.

    Without signs, for which most of the shares would be 1.
    """
    net, images = strided()
    for parameter in net.parameters():
        parameter.data.abs_()
    wanted = reference(net, images.abs(), "max")
    found = channel_scores(net, methods()["pfp"], images.abs())
    for maker, reader in (("0", "2"), ("2", "4")):
        largest = wanted[reader].movedim(1, 0).flatten(1).amax(1)
        assert largest.amax() < 0.9
        assert torch.allclose(found[maker].float(), largest, rtol=0, atol=1e-5)
