"""Networks of continuous depth: a solver calls a field many times, and every call counts."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold
from lightning_prune.criteria import SiPP
from lightning_prune.network.layers import find_layers
from lightning_prune.network.network import Network
from lightning_prune.prune import watch
from lightning_prune.structures import Weights

pytestmark = pytest.mark.filterwarnings("ignore:Setting tolerances has no effect on fixed-step")

NAMES = ["sipp", "sipp_rand", "sipp_hybrid", "snip", "wanda", "synflow"]
SAMPLES = 5


def solve(field, solver, sensitivity):
    from torchdyn.core import NeuralODE

    return NeuralODE(
        field, solver=solver, sensitivity=sensitivity, return_t_eval=False, interpolator=None
    )


class Classifier(nn.Module):
    """A neural ODE of eight states between two linear layers, for three classes."""

    inputs = 5

    def __init__(self, solver, sensitivity):
        super().__init__()
        torch.manual_seed(1)
        field = nn.Sequential(nn.Linear(8, 10), nn.Softplus(), nn.Linear(10, 8))
        self.lift, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.flow = solve(field, solver, sensitivity)
        self.register_buffer("span", torch.linspace(0, 1, 3 if solver == "rk4" else 2))
        self.double()

    def forward(self, x):
        return self.head(self.flow(self.lift(x), self.span)[-1])

    @staticmethod
    def loss(model, x):
        return F.cross_entropy(model(x), torch.arange(len(x)) % 3)


class Density(nn.Module):
    """A continuous normalizing flow in six dimensions, with the trace itself."""

    inputs = 6

    def __init__(self, solver, sensitivity):
        super().__init__()
        from torchdyn.models import CNF

        torch.manual_seed(2)
        field = nn.Sequential(nn.Linear(6, 9), nn.Softplus(), nn.Linear(9, 6))
        self.flow = solve(CNF(field), solver, sensitivity)
        self.register_buffer("span", torch.linspace(0, 1, 3 if solver == "rk4" else 2))
        self.double()

    def forward(self, x):
        return self.flow(torch.cat([x.new_zeros(len(x), 1), x], 1), self.span)[-1]

    @staticmethod
    def loss(model, x):
        end = model(x)
        return (end[:, 1:].square().sum(1) / 2 + end[:, 0]).mean()


MODELS = {
    f"{kind.__name__} {solver} {sensitivity}": (kind, solver, sensitivity)
    for kind in (Classifier, Density)
    for solver, sensitivity in (("rk4", "autograd"), ("dopri5", "adjoint"))
}


def made(name):
    """A model and its points."""
    kind, *options = MODELS[name]
    points = torch.randn(SAMPLES, kind.inputs, generator=torch.Generator().manual_seed(3))
    return kind(*options), points.double()


def calls(model, batches):
    """By layer, all that it is called with."""
    found = {layer.name: [] for layer in find_layers(model)}
    handles = [
        layer.module.register_forward_hook(
            lambda _, args, __, name=layer.name: found[name].append(args[0].detach().clone())
        )
        for layer in find_layers(model)
    ]
    for batch in batches:
        model(batch)
    for handle in handles:
        handle.remove()
    return found


def naive(weight, points):
    """Point by point and row by row: parts of sums over products whose factors' signs agree."""
    largest = [[0.0] * weight.shape[1] for _ in weight]
    for point, (row, best) in itertools.product(
        points.tolist(), zip(weight.tolist(), largest, strict=True)
    ):
        pairs = list(zip(row, point, strict=True))
        kinds = [(w > 0, a > 0) for w, a in pairs]
        for j, (w, a) in enumerate(pairs):
            alike = [
                abs(v * b) for (v, b), kind in zip(pairs, kinds, strict=True) if kind == kinds[j]
            ]
            best[j] = max(best[j], abs(w * a) / sum(alike))
    return torch.tensor(largest, dtype=weight.dtype)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_pruned_exactly_and_can_be_trained(name, model):
    net, points = made(model)
    dense = sum(p.numel() for p in net.parameters())
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    loss = net.loss if name == "snip" else None
    report = prune(net, name, 0.6, loader=points.split(3), loss=loss)
    left = sum(int(p.count_nonzero()) for p in net.parameters())
    assert left == report.left == int(0.6 * dense)
    outputs = net(points)
    assert outputs.isfinite().all()
    net.loss(net, points).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any(), key
        kept = parameter.detach() != 0
        if name not in ("sipp_rand", "sipp_hybrid"):
            assert torch.equal(parameter.detach()[kept], before[key][kept])
    start = net.loss(net, points)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 1e-3 * parameter.grad
    assert net.loss(net, points) < start


@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("model", MODELS)
def test_the_sensitivity_is_the_largest_over_all_evaluations(model, patches):
    net, points = made(model)
    batches, criterion = points.split(3), SiPP(patches)
    watch(Network(net), criterion, batches, lambda batch, _: net(batch))
    values = calls(net, batches)
    for layer in find_layers(net):
        every = naive(layer.weight, torch.cat(values[layer.name]))
        torch.testing.assert_close(criterion.seen[layer.name], every, rtol=1e-9, atol=1e-12)
        first = naive(layer.weight, values[layer.name][0])
        assert (first <= every).all()
        if layer.name.startswith("flow"):
            assert len(values[layer.name]) >= 4 * len(batches)
            assert ((every - first) > 0.01).any()
            assert every.amin() < 0.9, "there is something to be told apart"


@pytest.mark.parametrize("model", MODELS)
def test_the_weights_of_the_largest_sensitivities_are_left(model):
    net, points = made(model)
    layers, values = find_layers(net), calls(net, points.split(3))
    scores = torch.cat([naive(x.weight, torch.cat(values[x.name])).flatten() for x in layers])
    total = sum(p.numel() for p in net.parameters())
    count = int(0.6 * total) - (total - len(scores))  # biases stay
    ordered = scores.sort(descending=True).values
    assert ordered[count - 1] > ordered[count] + 1e-6
    prune(net, Method(SiPP(), Weights(), Threshold(floor=0)), 0.6, loader=points.split(3))
    kept = torch.cat([x.weight.flatten() != 0 for x in layers])
    assert torch.equal(kept, scores >= ordered[count - 1])
