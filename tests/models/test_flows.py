"""Flows of points against closed forms: densities, traces, sizes, ways there and back."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from lightning_prune.models import CNF, ConcatSquashField, MLPField
from lightning_prune.models.divergence import LogDetField
from lightning_prune.models.fields import Field
from lightning_prune.solve import TIGHT, Solver

DOUBLE = Solver("dopri5", atol=1e-9, rtol=1e-9)
A = torch.tensor([[0.3, -1.1], [0.7, -0.2]])

# torch among itself, at the first use of jvp and of vmap
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")


def linear(matrix):
    field = nn.Linear(2, 2, bias=False)
    field.weight = nn.Parameter(matrix.clone())
    return field


def points(count, dims=2, dtype=torch.float32):
    return torch.randn(count, dims, dtype=dtype, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize(
    ("solver", "error"), [(TIGHT, 1e-4), (Solver("rk4", 8), 1e-4), (Solver("tsit5"), 1e-4)]
)
def test_a_linear_field_makes_a_gaussian(solver, error):
    """A linear field has the Gaussian of the precision e^A' e^A."""
    x = points(500)
    way = torch.matrix_exp(A.double())
    exact = MultivariateNormal(torch.zeros(2).double(), precision_matrix=way.T @ way)
    found = CNF(linear(A)).log_prob(x, solver)
    assert float((found - exact.log_prob(x.double())).abs().max()) < error


@torch.no_grad()
def test_a_field_without_hidden_layers_is_linear():
    field = MLPField(2, hidden=())
    field.layers[0].weight.copy_(A)
    field.layers[0].bias.zero_()
    torch.testing.assert_close(CNF(field)(points(9)), CNF(linear(A))(points(9)))


@torch.no_grad()
@pytest.mark.parametrize("solver", [Solver("euler"), Solver(), TIGHT])
def test_a_field_of_zero_leaves_the_standard_normal(solver):
    x = points(50)
    exact = -x.square().sum(1) / 2 - math.log(2 * math.pi)
    torch.testing.assert_close(CNF(linear(0 * A))(x), exact)
    torch.testing.assert_close(CNF(linear(0 * A)).log_prob(x, solver), exact)


@torch.no_grad()
def test_a_rotation_has_no_log_determinant():
    flow = CNF(linear(torch.tensor([[0.0, -1.3], [1.3, 0.0]])))
    z, logdet = flow.transform(points(20), TIGHT)
    assert float(logdet.abs().max()) < 1e-6
    torch.testing.assert_close(z.norm(dim=1), points(20).norm(dim=1), rtol=1e-4, atol=1e-5)
    turned = points(20) @ torch.matrix_exp(torch.tensor([[0.0, -1.3], [1.3, 0.0]])).T
    torch.testing.assert_close(z, turned, rtol=1e-3, atol=1e-4)


class Swing(nn.Module):
    def forward(self, t, x):
        return torch.cos(3 * t) * x


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_log_determinant_of_a_field_that_swings(dims):
    """The integral of cos(3 t) over the unit interval: sin(3) / 3 for each dimension."""
    x = points(4, dims, torch.float64)
    z, logdet = CNF(Swing(), dims).transform(x, DOUBLE)
    expected = math.sin(3) / 3
    torch.testing.assert_close(logdet, torch.full_like(logdet, dims * expected))
    torch.testing.assert_close(z, x * math.exp(expected))


@torch.no_grad()
@pytest.mark.parametrize("trace", ["rademacher", "gaussian"])
def test_probes_are_unbiased_and_vary_as_in_theory(trace):
    """Hutchinson's variance: 2 |S|^2, of signs without the diagonal."""
    from lightning_prune.models.divergence import draw_probe

    field, count = MLPField(3, (16,)).double(), 50_000
    field.layers[0].weight.mul_(2)
    x = points(1, 3, torch.float64)
    state = torch.cat([x, x[:, :1] * 0], 1).expand(count, -1)
    probe = draw_probe(trace, state[:, :-1], 1)
    assert probe.shape == (1, count, 3)
    drawn = LogDetField(field, (3,))(torch.zeros(()), state, probe)[:, -1]
    jacobian = torch.autograd.functional.jacobian(
        lambda y: field(torch.zeros(()), y[None])[0], x[0]
    )
    s = (jacobian + jacobian.T) / 2
    diagonal = s.diagonal().square().sum() if trace == "rademacher" else 0
    variance = float(2 * (s.square().sum() - diagonal))
    assert abs(float(drawn.mean() - s.trace())) < 4 * math.sqrt(variance / count)
    assert float(drawn.var()) == pytest.approx(variance, rel=0.06)
    pairs = draw_probe(trace, x, count // 2 * 2).view(2, -1, 3)  # two probes are a mean of two
    means = LogDetField(field, (3,))(torch.zeros(()), state[: count // 2], pairs)[:, -1]
    assert float(means.var()) == pytest.approx(variance / 2, rel=0.08)


ACTIVATIONS = ("tanh", "sigmoid", "softplus", "relu")
FIELDS = {
    **{f"MLP {a}": (MLPField, {"activation": a}) for a in ACTIVATIONS},
    **{f"MLP {a} with time": (MLPField, {"activation": a, "time": True}) for a in ACTIVATIONS},
    **{f"squash {a}": (ConcatSquashField, {"activation": a}) for a in ACTIVATIONS},
}


@pytest.mark.parametrize("name", FIELDS)
def test_tangents_and_traces_are_those_of_the_jacobian(name):
    """Traces and their gradients are those of autograd; of any module, of torch.func."""
    kind, options = FIELDS[name]
    field = kind(3, (7, 6), **options).double()
    x, t = points(4, 3, torch.float64), torch.tensor(0.6, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: field(t, y[None])[0]))(x)
    traces = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    tangents = torch.randn(5, 4, 3, dtype=torch.float64)
    along = torch.einsum("bij,kbj->kbi", jacobian, tangents)
    parameters = list(field.parameters())

    def gradients(of):
        return torch.autograd.grad(
            of.sin().sum(), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )

    for model in (field, lambda *args: Field.push(field, *args)):
        push = model.push if isinstance(model, Field) else model
        velocity, pushed = push(t, x, tangents)
        torch.testing.assert_close(velocity, field(t, x))
        torch.testing.assert_close(pushed, along)
    velocity, found = field.divergence(t, x)
    torch.testing.assert_close(velocity, field(t, x))
    torch.testing.assert_close(found, traces)
    torch.testing.assert_close(gradients(found), gradients(traces))
    torch.testing.assert_close(gradients(pushed), gradients(along))


def several(count=3, **options):
    torch.manual_seed(2)
    return CNF([MLPField(2, (16,), time=True) for _ in range(count)], **options)


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3])
def test_there_and_back(count):
    """What goes through the flow and back is what it was, and so are volumes."""
    flow, x = several(count, end_time=0.7), points(200)
    z, logdet = flow.transform(x, TIGHT)
    assert float((z - x).abs().median()) > 0.05
    back, other = flow.invert(z, TIGHT)
    assert float((back - x).abs().median()) < 1e-4
    assert float((logdet + other).abs().median()) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3])
def test_trajectories_begin_at_the_noise_and_end_at_the_points(count):
    flow, z = several(count, end_time=0.7), points(10)
    for times in (torch.linspace(1, 0, 7), torch.tensor([1.0, 0.0])):
        way = flow.trajectories(z, times, TIGHT)
        assert way.shape == (len(times), 10, 2)
        assert torch.equal(way[0], z)
        torch.testing.assert_close(way[-1], flow.invert(z, TIGHT)[0], atol=1e-4, rtol=1e-4)
    assert all(not torch.equal(a, b) for a, b in pairwise(way))
