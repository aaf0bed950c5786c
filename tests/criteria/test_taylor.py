"""Taylor's importance of filters by hand, and against what really happens to the loss."""

import pytest
import torch
from torch import nn

from lightning_prune import Method
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import SNIP, Taylor
from lightning_prune.network.network import Network
from lightning_prune.prune import watch
from lightning_prune.structures import Filters, Weights


def linear(weight):
    net = nn.Linear(len(weight[0]), len(weight), bias=False)
    net.weight.data = torch.tensor(weight)
    (layer,) = Network(net).layers
    return layer


def test_contributions_by_hand():
    """Rows of w g in two batches: 3 - 1 = 2 and 2 + 2 = 4, then 1 + 1 = 2 and -4 - 2 = -6."""
    layer = linear([[1.0, 1.0], [2.0, 2.0]])
    for power, wanted in ((2.0, [8, 52]), (1.0, [4, 10])):
        taylor = Taylor(power)
        taylor.reset()
        taylor.observe(layer, torch.tensor([[3.0, -1.0], [1.0, 1.0]]))
        taylor.observe(layer, torch.tensor([[1.0, 1.0], [-2.0, -1.0]]))
        assert taylor.score(layer, Filters()).tolist() == wanted


def test_batches_are_weighted_by_their_samples():
    layer, taylor = linear([[2.0]]), Taylor()
    taylor.reset()
    taylor.observe(layer, torch.tensor([[1.0]]), 3)
    taylor.observe(layer, torch.tensor([[-3.0]]), 1)
    assert taylor.score(layer, Filters()).tolist() == [3 * 4 + 1 * 36]


def test_gradients_that_cancel_do_not_hide_a_filter():
    """At a minimum SNIP sees nothing."""
    layer = linear([[1.0], [1.0]])
    gradients = torch.tensor([[5.0], [1.0]]), torch.tensor([[-5.0], [1.0]])
    found = {}
    for criterion in (Taylor(), SNIP()):
        criterion.reset()
        for gradient in gradients:
            criterion.observe(layer, gradient)
        found[type(criterion)] = criterion.score(layer, Filters()).tolist()
    assert found == {Taylor: [50, 2], SNIP: [0, 2]}


def test_it_is_the_output_times_its_gradient_summed_over_samples_and_positions():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 2),
    ).double()  # fmt: skip
    x = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    network, taylor = Network(net), Taylor(power=1.0)
    watch(network, taylor, [x], lambda b, _: net(b).square().mean())
    net.eval()
    maps = net[0](x)
    (gradient,) = torch.autograd.grad(net[1:](maps).square().mean(), maps)
    wanted = 6 * (maps * gradient).sum((0, 2, 3)).abs()
    torch.testing.assert_close(taylor.score(network.layers[0], Filters()), wanted)


def test_it_predicts_what_a_small_change_of_a_filter_does_to_the_loss():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.randn(16, 3, dtype=torch.float64)
    network, taylor = Network(net), Taylor()
    watch(network, taylor, [x], lambda b, _: net(b).square().mean())
    score = taylor.score(network.layers[0], Filters())
    with torch.no_grad():
        for row in range(4):
            before = net(x).square().mean()
            net[0].weight[row] *= 1 - 1e-6
            change = (net(x).square().mean() - before) / 1e-6
            net[0].weight[row] /= 1 - 1e-6
            assert 16 * change**2 == pytest.approx(float(score[row]), rel=1e-4)


def test_filters_of_a_transposed_convolution_are_its_columns():
    net = nn.ConvTranspose2d(2, 3, 1, bias=False)
    net.weight.data = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, 3.0]]).view(2, 3, 1, 1)
    (layer,) = Network(net).layers
    taylor = Taylor()
    taylor.reset()
    taylor.observe(layer, torch.ones(2, 3, 1, 1))
    assert taylor.score(layer, Filters()).tolist() == [4, 4, 9]


def test_it_is_for_filters_and_powers_are_positive():
    with pytest.raises(ValueError, match="Taylor is defined for Filters"):
        Method(Taylor(), Weights(), Threshold())
    with pytest.raises(ValueError, match="positive power"):
        Taylor(0.0)
