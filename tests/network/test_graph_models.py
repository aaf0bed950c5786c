import time

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune.network.graph import build_graph
from lightning_prune.network.layers import find_layers


@pytest.mark.parametrize(
    ("name", "groups", "pinned"),
    [("resnet18", 12, "fc"), ("mobilenet_v2", 25, "classifier.1"), ("vgg11", 10, "classifier.6"),
     ("densenet121", 120, "classifier")],
)  # fmt: skip
def test_models_of_torchvision_are_followed_whole(name, groups, pinned):
    from torchvision import models

    with torch.device("meta"):  # geometry is all that a trace needs
        model, x = getattr(models, name)(weights=None).eval(), torch.randn(2, 3, 64, 64)
        graph = build_graph(model, lambda: model(x), 2)
        with FlopCounterMode(display=False) as counter:
            model(x)
    assert graph.macs == counter.get_total_flops() / 2 / 2
    layers = graph.traced(find_layers(model))
    assert sum(layer.positions * layer.weight.numel() for layer in layers) == graph.macs
    assert len(graph.groups(layers)) == groups
    assert graph.pinned == {pinned: "they are the network's outputs"}


def field():
    return nn.Sequential(
        nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 11), nn.Softplus(), nn.Linear(11, 2)
    )


def solved(vector_field, solver, sensitivity):
    """A solve of torchdyn, from two to two dimensions."""
    from torchdyn.core import NeuralODE

    class Solved(nn.Module):
        def __init__(self):
            super().__init__()
            self.ode = NeuralODE(
                vector_field, solver=solver, sensitivity=sensitivity, return_t_eval=False,
                interpolator=None, atol=1e-4, rtol=1e-4,
            )  # fmt: skip

        def forward(self, x):
            return self.ode(x)[-1]

    return Solved()


@pytest.mark.filterwarnings("ignore:Setting tolerances")
@pytest.mark.parametrize("sensitivity", ["autograd", "adjoint"])
@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
def test_neurons_of_a_field_are_units_under_every_solver(solver, sensitivity):
    model = solved(field(), solver, sensitivity)
    x = torch.randn(5, 2)
    graph = build_graph(model, lambda: model(x), 5)
    first, second, last = find_layers(model)
    found = graph.groups([first, second, last])
    assert [(g.layers[0].name, g.size) for g in found] == [(first.name, 12), (second.name, 11)]
    assert set(graph.pinned) == {last.name}
    assert graph.positions[first.name] == graph.calls[first.name] > 3
    assert graph.macs >= graph.calls[first.name] * (24 + 132 + 22)


@pytest.mark.filterwarnings("ignore:Setting tolerances")
@pytest.mark.parametrize("estimator", ["autograd_trace", "hutch_trace"])
@pytest.mark.parametrize("sensitivity", ["autograd", "adjoint"])
def test_neurons_of_a_continuous_flow_are_units(sensitivity, estimator):
    from torchdyn.models import cnf

    prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    flow = cnf.CNF(field(), trace_estimator=getattr(cnf, estimator), noise_dist=prior)
    model = solved(flow, "rk4", sensitivity)
    x = torch.randn(5, 3)
    graph = build_graph(model, lambda: model(x), 5)
    first, second, last = find_layers(model)
    found = graph.groups([first, second, last])
    assert [(g.layers[0].name, g.size) for g in found] == [(first.name, 12), (second.name, 11)]
    gradients = 2 if estimator == "autograd_trace" else 1
    assert graph.positions[second.name] == (1 + gradients) * graph.calls[second.name]


def test_a_trace_takes_time_in_proportion_to_the_operators():
    class Repeated(nn.Module):
        def __init__(self, times):
            super().__init__()
            self.field, self.times = field(), times

        def forward(self, x):
            for _ in range(self.times):
                x = x + 0.1 * self.field(x)
            return x

    def seconds(times):
        model, x = Repeated(times), torch.randn(5, 2)
        start = time.process_time()
        build_graph(model, lambda: model(x), 5)
        return time.process_time() - start

    seconds(1)
    few, many = min(seconds(15) for _ in range(3)), min(seconds(150) for _ in range(2))
    assert many < 20 * few  # ten times as many operators
