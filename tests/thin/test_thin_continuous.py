"""Networks of continuous depth: thin fields are masked ones, in solves, traces and adjoints."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from thin import params
from torch import nn

from lightning_prune import prune, thin
from lightning_prune.models import (
    CNF,
    ImageFlow,
    MLPField,
    NeuralODE,
    ODEClassifier,
    ODENet,
    TabularFlow,
)
from lightning_prune.solve import Solver
from lightning_prune.thinning import thin_out

# torch among itself, at the first use of jvp; torchdyn where a flow has no tolerances to set
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting tolerances"),
]

STEPS = Solver(steps=2)
DOPRI5 = Solver("dopri5", atol=1e-4, rtol=1e-4)


def points(count, dims, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, dims, generator=draw, dtype=torch.float64)


def images(size, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(3, 1, size, size, generator=draw, dtype=torch.float64)


def field(size=3):
    return nn.Sequential(
        nn.Linear(size, 12), nn.Sigmoid(), nn.Linear(12, 11), nn.Softplus(), nn.Linear(11, size)
    )


def classifier(activation="sigmoid", **options):
    solver = Solver(**{"steps": 2, "atol": 1e-4, "rtol": 1e-4, **options})
    return ODEClassifier(2, 3, (16, 12), augment=1, activation=activation, time=True, solver=solver)


def planar(trace, solver=STEPS, fields=1):
    return CNF([MLPField(2, (16, 12), "softplus") for _ in range(fields)], 2, solver, trace)


def tabular(trace, solver=STEPS):
    return TabularFlow(4, blocks=2, factor=3, solver=solver, trace=trace)


def image_flow(trace):
    return ImageFlow((1, 4, 4), (6, 6), 1, scales=1, solver=STEPS, trace=trace)


BACKWARD = {"method": "dopri5", "gradient": "adjoint"}
# a network, the inputs it takes, and the share of it that is kept
NETS = {
    "ode net": (lambda: ODENet(1, 8, 5), images, 8, 0.8),
    "ode net, dopri5, adjoint": (
        lambda: ODENet(1, 8, 5, solver=Solver(atol=1e-3, rtol=1e-3, **BACKWARD)), images, 8, 0.8,
    ),
    "layer": (lambda: NeuralODE(field(2), STEPS), points, 2, 0.5),
    "classifier": (classifier, points, 2, 0.5),
    "classifier, tanh": (lambda: classifier("tanh"), points, 2, 0.5),
    "classifier, adjoint": (lambda: classifier(gradient="adjoint"), points, 2, 0.5),
    "classifier, dopri5": (lambda: classifier(method="dopri5"), points, 2, 0.5),
    "classifier, dopri5, adjoint": (lambda: classifier(**BACKWARD), points, 2, 0.5),
    "cnf": (lambda: planar("exact"), points, 2, 0.5),
    "cnf, dopri5": (lambda: planar("exact", DOPRI5, 2), points, 2, 0.5),
    "cnf, rademacher": (lambda: planar("rademacher"), points, 2, 0.5),
    "cnf, gaussian, dopri5": (lambda: planar("gaussian", DOPRI5), points, 2, 0.5),
    "cnf, adjoint": (lambda: planar("exact", Solver(steps=2, gradient="adjoint")), points, 2, 0.5),
    "tabular": (lambda: tabular("exact"), points, 4, 0.5),
    "tabular, rademacher, dopri5": (lambda: tabular("rademacher", DOPRI5), points, 4, 0.5),
    "images": (lambda: image_flow("exact"), images, 4, 0.5),
    "images, rademacher": (lambda: image_flow("rademacher"), images, 4, 0.5),
}  # fmt: skip
QUICK = ["ode net", "layer", "classifier, dopri5, adjoint", "cnf", "images, rademacher"]
FLOWS = [name for name in NETS if name.startswith(("cnf", "tabular", "images"))]


def some(names, quick=QUICK):
    """All of them, the quick ones in the fast suite, too."""
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(name, marks=marks[name in quick]) for name in names]


def inputs(name, seed=1):
    _, make, size, _ = NETS[name]
    return make(size, seed) if make is images else make(5, size, seed)


def pruned(name):
    torch.manual_seed(0)
    make, _, _, keep = NETS[name]
    net = make().double()
    return net, prune(net, "filter_norm", keep, example=inputs(name))


def told(net, x, run=None):
    """What it computes, with the same probes every time."""
    torch.manual_seed(3)
    return (run or net)(x)


def close(small, net):
    torch.testing.assert_close(small, net, rtol=1e-10, atol=1e-10)
    return True


def spent(net, x):
    """Evaluations of one forward and of what its gradient takes."""
    net.tally.reset()
    told(net, x).square().sum().backward()
    return net.tally.solves, net.tally.forward, net.tally.backward


@pytest.mark.parametrize("name", some(NETS))
def test_thin_is_masked_and_as_small_as_the_report_says(name):
    net, report = pruned(name)
    x = inputs(name)
    done = thin_out(net, x)
    assert params(done.model) == report.left < params(net)
    assert done.stays == {}
    assert done.double
    for given in (x, inputs(name, seed=2)):
        expected = told(net, given)
        assert close(told(done.model, given), expected)
        assert not torch.allclose(expected[0], expected[1])
    assert spent(done.model, x) == spent(net, x)


@pytest.mark.parametrize("name", some(NETS))
def test_training_goes_on_everywhere(name):
    net, _ = pruned(name)
    x = inputs(name)
    small = thin(net, x).train()
    before = {key: parameter.detach().clone() for key, parameter in small.named_parameters()}
    optimizer = torch.optim.Adam(small.parameters(), 1e-2)
    told(small, x).square().mean().backward()
    optimizer.step()
    assert [key for key, p in small.named_parameters() if torch.equal(p, before[key])] == []
    assert told(small, x).isfinite().all()


@pytest.mark.parametrize("name", some(["classifier, dopri5, adjoint", "cnf", "tabular", "images"]))
def test_gradients_are_those_of_the_masked_one(name):
    """Of what is left: entries that both have, in the order in which they were."""
    net, _ = pruned(name)
    x = inputs(name)
    small = thin(net, x)
    gradients = []
    for each in (net, small):
        told(each, x).square().mean().backward()
        gradients.append([p.grad.flatten() for p in each.parameters()])
    alive = [(p != 0).flatten() for p in net.parameters()]
    for masked, left, mine in zip(gradients[0], alive, gradients[1], strict=True):
        torch.testing.assert_close(mine, masked[left], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", some(FLOWS, ["cnf"]))
def test_densities_with_exact_traces_and_the_way_back(name):
    net, _ = pruned(name)
    x = inputs(name)
    small = thin(net, x)
    exact = {"trace": "exact"}
    assert close(small.log_prob(x, **exact), net.log_prob(x, **exact))
    if not isinstance(net, ImageFlow):
        assert close(small.invert(x, STEPS)[0], net.invert(x, STEPS)[0])
    samples = [told(each, 3, lambda n, each=each: each.sample(n)) for each in (small, net)]
    assert close(*samples)


@pytest.mark.parametrize("name", some(["ode net", "classifier", "cnf", "tabular", "images"], []))
def test_copies_and_pickles_are_of_their_own(name):
    net, _ = pruned(name)
    x = inputs(name)
    small = thin(net, x)
    expected = told(small, x)
    for twin in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(told(twin, x), expected)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(0.5)
        assert not torch.allclose(told(twin, x), expected)
    assert torch.equal(told(small, x), expected)


def counted(model):
    """Calls of the first layer of the field: hooks go along with a copy."""
    calls = []
    linear = next(module for module in model.modules() if isinstance(module, nn.Linear))
    handle = linear.register_forward_hook(lambda *_: calls.append(1))
    return calls, handle


def compare_in_place(net, x, keep, run):
    """Prune and thin a network in place: parameters, outputs, evaluations, gradients."""
    report = prune(net, "filter_norm", keep, example=x)
    found = []
    for step in range(2):
        if step:
            assert thin(net, x, inplace=True) is net
        calls, handle = counted(net)
        found.append((run(net, x).detach(), len(calls)))
        handle.remove()
    assert params(net) == report.left
    assert close(found[1][0], found[0][0])
    assert found[1][1] == found[0][1] > 0
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    run(net, x).square().mean().backward()
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))


def torchdyn_ode(solver, sensitivity, inner=None):
    core = pytest.importorskip("torchdyn.core", reason="torchdyn is not installed")
    torch.manual_seed(0)
    options = {"atol": 1e-4, "rtol": 1e-4} if solver == "dopri5" else {}
    return core.NeuralODE(
        inner or field(), solver=solver, sensitivity=sensitivity, return_t_eval=False, **options
    ).double()


def last(net, x):
    torch.manual_seed(3)
    return net(x, torch.linspace(0, 1, 3, dtype=x.dtype))[-1]


@pytest.mark.slow
@pytest.mark.parametrize("sensitivity", ["autograd", "adjoint", "interpolated_adjoint"])
@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
def test_torchdyns_networks(solver, sensitivity):
    """They hold a tensor of a graph, so that they cannot be copied."""
    net, x = torchdyn_ode(solver, sensitivity), points(5, 3)
    prune(net, "filter_norm", 0.6, example=x)
    with pytest.raises(ValueError, match=r"^The model cannot be copied .*inplace=True changes the"):
        thin(net, x)
    compare_in_place(torchdyn_ode(solver, sensitivity), x, 0.6, last)


@pytest.mark.slow
@pytest.mark.parametrize("trace", ["autograd_trace", "hutch_trace"])
def test_torchdyns_flows(trace):
    models = pytest.importorskip("torchdyn.models", reason="torchdyn is not installed")
    two = torch.eye(2, dtype=torch.float64)
    prior = torch.distributions.MultivariateNormal(two[0] * 0, two)
    cnf = models.cnf.CNF(field(2), getattr(models.cnf, trace), noise_dist=prior)
    compare_in_place(torchdyn_ode("rk4", "autograd", cnf), points(5, 3), 0.6, last)


class Adjoint(nn.Module):
    """The way of torchdiffeq: a module of time and state, and a head on where it ends."""

    def __init__(self, **options):
        super().__init__()
        self.inner, self.head, self.options = field(), nn.Linear(3, 2), options

    def forward(self, x):
        torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed")
        way = torchdiffeq.odeint_adjoint(
            lambda t, y: self.inner(y) * (1 - t), x, torch.linspace(0, 1, 3).to(x),
            adjoint_params=tuple(self.inner.parameters()), **self.options,
        )  # fmt: skip
        return self.head(way[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"method": "rk4"}, {"method": "dopri5", "rtol": 1e-4, "atol": 1e-4}]
)
def test_adjoints_of_torchdiffeq(options):
    pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed")
    torch.manual_seed(0)
    net, x = Adjoint(**options).double(), points(5, 3)
    report = prune(net, "filter_norm", 0.6, example=x)
    small = thin(net, x)
    assert params(small) == report.left
    assert close(small(x), net(x))
    again = Adjoint(**options).double()
    compare_in_place(again, x, 0.6, lambda model, given: model(given))


def test_what_cannot_be_copied_changes_in_place():
    """A network that keeps the states of its last solve, which are of a graph."""
    net, x = pruned("classifier")[0], inputs("classifier")
    net.way = net(x)
    with pytest.raises(ValueError, match=r"^The model cannot be copied \(RuntimeError: .*inplace="):
        thin(net, x)
    expected = told(net, x)
    before = params(net)
    assert thin(net, x, inplace=True) is net
    assert params(net) < before
    assert close(told(net, x), expected)
