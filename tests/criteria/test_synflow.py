"""Synaptic flow by hand: conservation, depth, norms, and an unchanged network afterwards."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import SNIP, SynFlow
from lightning_prune.models import LeNet300, ResNet
from lightning_prune.network.network import Network
from lightning_prune.prune import watch
from lightning_prune.structures import Filters, Weights

BARE = Method(SynFlow(), Weights(), Threshold(floor=0))


def scores(net, *shape, structure=None):
    network, criterion = Network(net), SynFlow()
    watch(network, criterion, [torch.zeros(1, *shape)], lambda x, _: net(x))
    return {x.name: criterion.score(x, structure or Weights()) for x in network.layers}


def by_hand():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    net[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    net[2].weight.data = torch.tensor([[1.0, -1.0]])
    return net


def test_flows_by_hand():
    """|W_1| 1 = (3, 3) and R = 6: the flows are [[1, 2], [3, 0]] and (3, 3), in shares of 6."""
    found = scores(by_hand(), 2)
    assert found["0"].tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0])
    assert found["2"].tolist() == pytest.approx([1 / 2, 1 / 2])
    rows = scores(by_hand(), 2, structure=Filters())
    assert rows["0"].tolist() == pytest.approx([1 / 2, 1 / 2])


@pytest.mark.parametrize(
    ("net", "shape"),
    [(LeNet300(12, 3, (9, 7)), (12,)), (ResNet(8, (4, 6, 8), shortcut="B"), (3, 8, 8))],
    ids=["perceptron", "residual"],
)
def test_the_flow_is_conserved(net, shape):
    """Layers that all of the flow passes score 1 together: all of a chain, the ends of a ResNet."""
    found = {name: float(score.sum()) for name, score in scores(net, *shape).items()}
    ends = [*found][:1] + [*found][-1:] if isinstance(net, ResNet) else [*found]
    assert [found[name] for name in ends] == pytest.approx([1.0] * len(ends), rel=1e-6)
    assert all(0 < total <= 1 + 1e-6 for total in found.values())


def test_norms_are_scales_and_activations_the_identity():
    """gamma = -2, variance 4, mean 7, shift 5: a factor of 1, and the hyperbolic tangent of 1."""
    net = by_hand()
    norm = nn.BatchNorm1d(2, eps=0.0)
    norm.weight.data, norm.bias.data = torch.full((2,), -2.0), torch.full((2,), 5.0)
    norm.running_var.fill_(4.0)
    norm.running_mean.fill_(7.0)
    layers = [nn.LayerNorm(2), net[0], norm, nn.Tanh(), net[2], nn.LogSoftmax(1)]
    found, wanted = scores(nn.Sequential(*layers), 2), scores(net, 2)
    for old, new in (("0", "1"), ("2", "4")):
        torch.testing.assert_close(found[new], wanted[old])


def test_no_depth_overflows():
    """64 layers of 300 weights of 1: R = 300^64, far beyond float32."""
    net = nn.Sequential(*(nn.Linear(300, 300, bias=False) for _ in range(64)))
    for layer in net:
        nn.init.ones_(layer.weight)
    found = scores(net, 300)
    for score in found.values():
        torch.testing.assert_close(score, torch.full_like(score, 1 / 300**2))


def test_the_network_is_as_it_was_even_after_an_error():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(inplace=True), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip
    pointers = {name: t.data_ptr() for name, t in net.state_dict().items()}
    before = copy.deepcopy(net.state_dict())

    def whole():
        state = net.state_dict()
        same = all(torch.equal(state[name], value) for name, value in before.items())
        kept = all(state[name].data_ptr() == place for name, place in pointers.items())
        return same and kept and not any("forward" in vars(m) for m in net.modules())

    scores(net, 1, 4, 4)
    assert whole()
    with pytest.raises(RuntimeError):
        scores(net, 3, 4, 4)
    assert whole()
    assert not net._forward_pre_hooks


def test_neither_data_nor_labels_nor_a_loss_are_needed():
    one, other = (LeNet300(6, 3, (8, 8)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    prune(one, "synflow", 0.4, example=torch.randn(1, 6))
    data = [(torch.randn(5, 6), torch.arange(5) % 3)]
    prune(other, "synflow", 0.4, loader=data, loss=lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    with pytest.raises(ValueError, match=r"SynFlow needs the shapes of an input: give example="):
        prune(one, "synflow", 0.3)


def test_many_small_cuts_keep_every_layer_where_one_cut_empties_the_widest():
    """The paper's point, at 32 of 10,704 weights and without floors."""

    def net():
        torch.manual_seed(0)
        sizes = [(8, 100), (100, 100), (100, 4)]
        return nn.Sequential(*(nn.Linear(*s, bias=False) for s in sizes))

    def left(model):
        return [int(layer.weight.count_nonzero()) for layer in model]

    total, target, cuts = 8 * 100 + 100 * 100 + 100 * 4, 32, 100
    at_once, data = net(), torch.randn(64, 8)
    prune(
        at_once, Method(SNIP(), Weights(), Threshold(floor=0)), target / total, loader=[data],
        loss=lambda m, x: m(x).square().mean(),
    )  # fmt: skip
    assert left(at_once)[1] == 0
    slowly = net()
    for cut in range(1, cuts + 1):
        prune(slowly, BARE, (target / total) ** (cut / cuts), example=data)
    assert sum(left(slowly)) == target
    assert min(left(slowly)) > 0
    assert slowly(data).count_nonzero() > 0


def test_a_network_that_nothing_flows_through_is_refused():
    net = by_hand()
    nn.init.zeros_(net[2].weight)
    with pytest.raises(ValueError, match="a flow of 0 from inputs to outputs"):
        scores(net, 2)


@pytest.mark.parametrize("samples", [1, 5])
def test_the_flow_of_a_layer_sums_to_one_whatever_the_batch(samples):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    criterion, network = SynFlow(), Network(net)
    watch(network, criterion, [torch.ones(samples, 4)], lambda batch, _: net(batch))
    for layer in network.layers:
        assert float(criterion.score(layer, Weights()).sum()) == pytest.approx(1)
