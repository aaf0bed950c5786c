"""SNIP by hand, and what its gradients have to satisfy."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import Method, Samples, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import SNIP
from lightning_prune.network.network import Network
from lightning_prune.prune import watch
from lightning_prune.structures import Filters, Weights


def by_hand():
    """y = v relu(W x) with W = [[1, 1], [1, -1]] and v = (1, 2)."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    net[0].weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    net[2].weight.data = torch.tensor([[1.0, 2.0]])
    return net


POINT = torch.tensor([[1.0, 2.0]])


def half_square(net):
    """L = y^2 / 2, the mean over a batch."""
    return lambda batch, _=0: net(batch).square().mean() / 2


def scores(net, criterion, batches, loss, structure=None):
    network = Network(net, None, lambda: net(batches[0]), len(batches[0]))
    watch(network, criterion, batches, loss)
    return {x.name: criterion.score(x, structure or Weights()) for x in network.layers}


def test_scores_by_hand():
    """At x = (1, 2) the hidden units are (3, 0), y = 3; dL/dy = 3, dL/dW = (3, 6), 0."""
    net = by_hand()
    found = scores(net, SNIP(), [POINT], half_square(net))
    assert found["0"].tolist() == [3, 6, 0, 0]
    assert found["2"].tolist() == [9, 0]
    total = sum(score.sum() for score in found.values())
    assert (found["0"] / total).tolist() == pytest.approx([1 / 6, 1 / 3, 0, 0])


def test_one_connection_is_too_few_for_two_layers():
    """Keep 2: v_1 and W_12. Keep 1: v_1 alone, and the first layer is empty, without a floor."""
    method = Method(SNIP(), Weights(), Threshold(floor=0))
    for keep, first, last in ((2 / 6, [[0, 1], [0, 0]], [[1, 0]]), (1 / 6, [[0, 0]] * 2, [[1, 0]])):
        net = by_hand()
        prune(net, method, keep, loader=[POINT], loss=lambda m, x: half_square(m)(x))
        assert net[0].weight.tolist() == first
        assert net[2].weight.tolist() == last


def test_signs_are_averaged_before_they_are_dropped():
    """y = w x, L = y: gradients 1 and -3 of two samples make |1 - 3| = 2 and not 4."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    batches = [torch.tensor([[1.0]]), torch.tensor([[-3.0]])]
    found = scores(net, SNIP(), batches, lambda x, _: net(x).mean())
    assert found[""].tolist() == [2.0]


@pytest.mark.parametrize("sizes", [(12,), (5, 7), (1, 1, 10), (4, 4, 4)])
def test_batches_are_weighted_by_their_samples(sizes):
    """(n_1 g_1 + n_2 g_2) / (n_1 + n_2): the score is that of all samples in one batch."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(12, 3, dtype=torch.float64)
    whole = torch.autograd.grad(half_square(net)(x), net[0].weight)[0] * net[0].weight.detach()
    found = scores(net, SNIP(), x.split(sizes), half_square(net))
    torch.testing.assert_close(found["0"] / 12, whole.abs().flatten(), rtol=1e-12, atol=1e-15)


def test_what_comes_into_a_neuron_goes_out():
    """Conservation: w dL/dw over a rectifier's weights and bias is that over its readers'."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 2
    network, criterion = Network(net), SNIP()
    watch(network, criterion, [(x, y)], lambda b, _: F.cross_entropy(net(b[0]), b[1]))
    first, last = (criterion.signed_score(layer, Weights()) for layer in network.layers)
    loss = F.cross_entropy(net(x), y)
    (bias,) = torch.autograd.grad(loss, net[0].bias)
    incoming = first.view(5, 3).sum(1) + 8 * bias * net[0].bias.detach()
    torch.testing.assert_close(incoming, last.view(2, 5).sum(0), rtol=1e-12, atol=1e-12)


def test_filters_have_a_gate_for_each_weight_or_one_for_all():
    """Rows of w g: (3, -1) and (2, 2); 4 and 4 by weights, 2 and 4 by units."""
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[3.0, 1.0], [2.0, -2.0]])
    (layer,) = Network(net).layers
    gradient = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    for gates, wanted in (("entry", [4, 4]), ("unit", [2, 4])):
        criterion = SNIP(gates)
        criterion.reset()
        criterion.observe(layer, gradient)
        assert criterion.score(layer, Filters()).tolist() == wanted
        assert criterion.signed_score(layer, Filters()) is None
        assert criterion.signed_score(layer, Weights()).tolist() == [3, -1, 2, 2]


def test_a_gate_on_a_filter_says_nothing_before_a_norm_in_train_mode():
    """The norm undoes any scale, so signed scores of a filter sum to zero; not so in eval mode."""
    torch.manual_seed(3)
    conv, norm = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-30)
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double()
    x, y = torch.randn(8, 2, 4, 4, dtype=torch.float64), torch.arange(8) % 3
    loss = lambda b, _: F.cross_entropy(net(b[0]), b[1])  # noqa: E731
    ratios = {}
    for mode in ("train", "eval"):
        criterion, network = SNIP("unit", mode), Network(net)
        watch(network, criterion, [(x, y)], loss)
        joint = criterion.score(network.layers[0], Filters())
        apart = SNIP("entry", mode)
        watch(network, apart, [(x, y)], loss)
        ratios[mode] = (joint / apart.score(network.layers[0], Filters())).amax()
    assert ratios["train"] < 1e-12 < 1e-3 < ratios["eval"]


def test_the_mode_decides_whose_statistics_norms_take():
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = 3 + torch.randn(16, 3)
    before = net[1].running_mean.clone()
    one, other = (
        scores(net, SNIP(mode=mode), [x], half_square(net))["0"] for mode in ("train", "eval")
    )
    assert not torch.allclose(one, other, rtol=0.1)
    assert torch.equal(net[1].running_mean, before)


def test_dead_rectifiers_and_empty_data_score_zero_and_no_nan():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    nn.init.constant_(net[0].bias, -5.0)
    for batch in (torch.zeros(4, 2), torch.ones(4, 2)):
        found = scores(net, SNIP(), [batch], half_square(net))
        assert all(torch.equal(score, torch.zeros_like(score)) for score in found.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_scores_are_in_float32_at_least(dtype):
    net = by_hand().to(dtype)
    found = scores(net, SNIP(), [POINT.to(dtype)] * 3, half_square(net))
    assert found["0"].dtype == (torch.float32 if dtype is torch.bfloat16 else dtype)
    assert found["0"].tolist() == [9, 18, 0, 0]


def test_it_costs_one_forward_and_one_backward_in_all():
    net, calls = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6))), []
    net.register_forward_hook(lambda *_: calls.append("forward"))
    net[0].weight.register_hook(lambda _: calls.append("backward"))
    data = DataLoader(TensorDataset(torch.randn(32, 4)), batch_size=32)
    loss = lambda m, b: m(b[0]).square().mean()  # noqa: E731
    prune(net, "snip", 0.5, loader=data, loss=loss, batches=1, example=torch.zeros(1, 4))
    traced = 1  # for the report's multiply-adds
    assert calls == ["forward", "backward"] + ["forward"] * traced


def test_the_same_samples_in_batches_of_another_size_choose_the_same_weights():
    masks = []
    for size, shuffle in ((64, False), (16, True), (10, False), (1, False)):
        torch.manual_seed(5)
        net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).double()
        x = torch.randn(80, 6, dtype=torch.float64)
        data = DataLoader(TensorDataset(x, torch.arange(80) % 3), size, shuffle=shuffle)
        loss = lambda m, b: F.cross_entropy(m(b[0]), b[1])  # noqa: E731
        prune(net, "snip", 0.3, loader=data, loss=loss, batches=Samples(50))
        masks.append(torch.cat([p.flatten() != 0 for p in net.parameters()]))
    assert all(torch.equal(mask, masks[0]) for mask in masks)


def test_what_it_does_not_know_is_refused():
    with pytest.raises(ValueError, match="gates for each 'entry' or 'unit', not 'row'"):
        SNIP("row")
    with pytest.raises(ValueError, match="'eval' or 'train', not 'test'"):
        SNIP(mode="test")
