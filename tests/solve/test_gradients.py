"""Gradients of solves: three ways to the same numbers, and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_prune.models.divergence import LogDetField
from lightning_prune.models.fields import MLPField
from lightning_prune.solve import Solver, Tally, solve

TIGHT = {"atol": 1e-8, "rtol": 1e-8}
TRUE = Solver("dopri5", **TIGHT)
ADJOINTS = [
    Solver("dopri5", gradient="adjoint", **TIGHT),
    Solver("tsit5", gradient="adjoint", **TIGHT),
    Solver("dopri5", gradient="interpolated_adjoint", **TIGHT),
    Solver("rk4", 10, gradient="adjoint"),
]


def name(solver):
    return f"{solver.method} {solver.gradient}"


def made(half=False):
    """A field that sees time, in double precision; without half of its weights if asked for."""
    torch.manual_seed(3)
    field = MLPField(2, (8, 8), time=True).double()
    if half:
        with torch.no_grad():
            for layer in field.layers:
                layer.weight *= torch.rand_like(layer.weight) < 0.5
    return field, torch.randn(5, 2, dtype=torch.float64, requires_grad=True)


def gradients(field, x, solver, times=None):
    """Of state, end time and parameters, of a loss on all times."""
    end = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    times = (0.0, 0.5 * end, end) if times is None else times
    states = solve(field, x, times, solver)
    weights = torch.arange(1.0, len(states) + 1, dtype=x.dtype).view(-1, 1, 1)
    loss = (weights * states.sin()).sum()
    return torch.autograd.grad(loss, (x, end, *field.parameters()))


def close(found, expected, relative):
    """By the norm of the difference of each tensor."""
    for own, other in zip(found, expected, strict=True):
        assert float((own - other).norm()) <= relative * float(other.norm())


@pytest.mark.parametrize("half", [False, True], ids=["dense", "pruned"])
@pytest.mark.parametrize("solver", ADJOINTS, ids=name)
def test_adjoints_are_autograd_for_state_time_and_parameters(solver, half):
    """On several times: torchdyn's interpolated adjoint is 18 % off there."""
    field, x = made(half)
    close(gradients(field, x, solver), gradients(field, x, TRUE), 1e-5)


@pytest.mark.parametrize("gradient", ["autograd", "adjoint", "interpolated_adjoint"])
def test_gradients_are_finite_differences(gradient):
    field, x = made()
    x, solver = x.detach(), Solver("dopri5", gradient=gradient, atol=1e-10, rtol=1e-10)

    def loss():
        return solve(field, x, (0.0, 1.0), solver)[-1].square().sum()

    loss().backward()
    entries = ((0, (1, 2)), (1, (3, 4)), (2, (0, 5)))  # the first reads time
    for number, entry in entries:
        weight = field.layers[number].weight
        expected, step = float(weight.grad[entry]), 1e-4
        with torch.no_grad():
            weight[entry] += step
            above = float(loss())
            weight[entry] -= 2 * step
            below = float(loss())
            weight[entry] += step
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("solver", [TRUE, *ADJOINTS[:3], Solver("euler")], ids=name)
def test_gradients_at_zero_velocity_are_finite(solver):
    """As at the start, where a last layer is zero, and where everything is pruned."""
    field, x = made()
    nn.init.zeros_(field.layers[-1].weight)
    nn.init.zeros_(field.layers[-1].bias)
    found = gradients(field, x, solver)
    assert all(bool(gradient.isfinite().all()) for gradient in found)
    assert float(found[-1].abs().min()) > 0


class Extra(nn.Module):
    """A field with a parameter that nothing reads."""

    def __init__(self, field):
        super().__init__()
        self.field, self.unused = field, nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, t, x):
        return self.field(t, x)


@pytest.mark.parametrize("solver", ADJOINTS, ids=name)
def test_parameters_that_do_not_matter_or_do_not_learn_do_no_harm(solver):
    """Both crash torchdyn's adjoints."""
    field, x = made()
    expected = gradients(field, x, TRUE)
    field.layers[1].weight.requires_grad_(False)
    whole = Extra(field)
    solve(whole, x, (0.0, 1.3), solver)[-1].sum().backward()
    assert field.layers[1].weight.grad is None
    assert whole.unused.grad is None or not bool(whole.unused.grad.any())
    plain = torch.autograd.grad(
        solve(field, x, (0.0, 1.3), TRUE)[-1].sum(), field.layers[0].weight
    )[0]
    close([field.layers[0].weight.grad], [plain], 1e-5)
    for parameter in field.parameters():
        parameter.requires_grad_(False)
    (to_state,) = torch.autograd.grad(
        solve(field, x, (0.0, 0.65, 1.3), solver)[1:].sin().mul(
            torch.tensor([2.0, 3.0]).view(2, 1, 1)
        ).sum() + x.sin().sum(), x,
    )  # fmt: skip
    close([to_state], [expected[0]], 1e-5)


@pytest.mark.parametrize("solver", ADJOINTS, ids=name)
def test_two_solves_with_two_probes_may_wait_for_one_backward(solver):
    """Where the probe is the module's, the gradient is silently wrong."""
    field, x = made()
    joint, state = LogDetField(field, (2,)), torch.cat([x, x[:, :1] * 0], 1).detach()
    probes = [torch.randn(1, 5, 2, dtype=torch.float64) for _ in range(2)]

    def logdet(probe, by):
        return solve(joint, state, (0.0, 1.0), by, context=(probe,))[-1, :, -1].square().sum()

    alone = [
        torch.autograd.grad(logdet(probe, TRUE), field.layers[1].weight)[0] for probe in probes
    ]
    assert float((alone[0] - alone[1]).norm()) > 1e-3 * float(alone[0].norm())
    both = logdet(probes[0], solver) + logdet(probes[1], solver)
    found = torch.autograd.grad(both, field.layers[1].weight)
    close(found, [alone[0] + alone[1]], 1e-5)


def test_second_derivatives_by_autograd():
    """x' = a x: the end is exp(a), and so is every derivative by a."""
    a = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    for solver in (Solver("rk4", 20), Solver("dopri5", 8, 1e-7, 1e-7)):
        end = solve(lambda t, x: a * x, one, (0.0, 1.0), solver)[-1].sum()
        for _ in range(2):
            (end,) = torch.autograd.grad(end, a, create_graph=True)
            assert float(end.detach()) == pytest.approx(float(a.detach().exp()), rel=1e-5)


@pytest.mark.parametrize("solver", ADJOINTS, ids=name)
def test_second_derivatives_by_an_adjoint_are_refused(solver):
    field, x = made()
    loss = solve(field, x, (0.0, 1.0), solver)[-1].square().sum()
    (first,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_parameters_may_be_named_where_the_field_is_a_function():
    field, x = made()
    parameters = list(field.parameters())
    end = solve(lambda t, x: field(t, x), x, (0.0, 1.0), ADJOINTS[0], parameters=parameters)[-1]
    found = torch.autograd.grad(end.sum(), parameters)
    expected = torch.autograd.grad(solve(field, x, (0.0, 1.0), TRUE)[-1].sum(), parameters)
    close(found, expected, 1e-6)


def test_the_tally_counts_evaluations_there_and_back():
    field, x = made()
    calls = []
    field.register_forward_hook(lambda *_: calls.append(1))
    for solver, forward, backward in (
        (Solver("euler"), 8, 0),
        (Solver("rk4"), 32, 0),
        (Solver("rk4", gradient="adjoint"), 32, 32),
        (ADJOINTS[0], None, None),
        (ADJOINTS[2], None, None),
    ):
        tally = Tally()
        calls.clear()
        solve(field, x, (0.0, 1.0), solver, tally=tally)[-1].sum().backward()
        assert tally.forward + tally.backward == len(calls)
        if forward is not None:
            assert (tally.solves, tally.forward, tally.backward) == (1, forward, backward)
        assert tally.per_solve == tally.forward > 6
        assert (tally.backward > 6) == (solver.gradient != "autograd")
    solve(field, x, (0.0, 1.0, 2.0), Solver("euler"), tally=tally)
    assert tally.solves == 2
    tally.reset()
    assert tally == Tally()
