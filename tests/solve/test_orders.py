"""Solvers against closed forms: orders, tolerances, times."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_prune.models.fields import MLPField
from lightning_prune.solve import Solver, Tally, corrected_rk4, solve

EXACT = math.exp(math.sin(3) / 3)  # x' = cos(3t) x from 1, at 1


class Swing(nn.Module):
    """x' = cos(3t) x, as torchdyn calls it, too."""

    def forward(self, t, x, args=None):
        return torch.cos(3 * t) * x


def order(error):
    """Slope of the logarithm of the error between 8, 16 and 32 steps."""
    errors = [abs(error(steps)) for steps in (8, 16, 32)]
    return min(math.log2(a / b) for a, b in pairwise(errors))


def ones(**options):
    return torch.ones(1, 1, dtype=torch.float64, **options)


def published(solver, steps):
    """Through torchdyn's own functional interface."""
    from torchdyn.numerics.odeint import odeint

    span = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return float(odeint(Swing(), ones(), span, solver)[1][-1])


@pytest.mark.parametrize(
    ("method", "low", "high"), [("euler", 0.9, 1.1), ("midpoint", 2, 4), ("rk4", 3.8, 6)]
)
def test_fixed_steps_have_their_order_where_the_field_depends_on_time(method, low, high):
    found = order(lambda n: float(solve(Swing(), ones(), (0, 1), Solver(method, n))[-1]) - EXACT)
    assert low < found < high


def test_torchdyns_rk4_is_of_first_order_and_the_corrected_one_of_fourth():
    """Should the first half fail, torchdyn has mended it."""
    assert 0.9 < order(lambda n: published("rk4", n) - EXACT) < 1.1
    assert order(lambda n: published(corrected_rk4(torch.float64), n) - EXACT) > 3.8


def test_the_corrected_rk4_works_inside_torchdyns_module(capsys):
    from torchdyn.core import NeuralODE

    def error(steps):
        solver = corrected_rk4(torch.float64)
        model = NeuralODE(Swing(), solver=solver, return_t_eval=False)
        span = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        return float(model(ones(), span)[-1]) - EXACT

    assert order(error) > 3.8
    assert abs(error(8)) < 3e-6


def test_the_corrected_rk4_is_ours():
    own = solve(Swing(), ones(), (0, 1), Solver("rk4", 7))[-1]
    assert float(own) == pytest.approx(published(corrected_rk4(torch.float64), 7), rel=1e-13)


@pytest.mark.parametrize(("method", "power"), [("midpoint", 1), ("rk4", 1), ("rk4", 2), ("rk4", 3)])
def test_powers_of_time_are_integrated_exactly_in_one_step(method, power):
    """ode.md, 1.11: x' = 2t, 3t^2, 4t^3."""
    end = solve(
        lambda t, x: ((power + 1) * t**power).expand_as(x), 0 * ones(), (0, 1), Solver(method, 1)
    )[-1]
    assert float(end) == pytest.approx(1, abs=1e-15)


def test_euler_falls_short_as_it_must():
    """ode.md, 1.11: x' = 2t gives 1 - 1/n."""
    for steps, expected in ((1, 0), (2, 0.5), (4, 0.75)):
        end = solve(lambda t, x: (2 * t).expand_as(x), 0 * ones(), (0, 1), Solver("euler", steps))
        assert float(end[-1]) == pytest.approx(expected, abs=1e-15)
    assert float(solve(lambda t, x: x, ones(), (0, 1), Solver("euler", 2))[-1]) == 2.25


def test_stages_are_evaluated_at_their_own_times():
    seen = []

    def field(t, x):
        seen.append(float(t))
        return x

    solve(field, ones(), (1.0, 3.0), Solver("rk4", 1))
    assert seen == [1, 2, 2, 3]


@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-11])
def test_adaptive_steps_reach_their_tolerance(method, tolerance):
    tally = Tally()
    solver = Solver(method, atol=tolerance, rtol=tolerance)
    assert float(solve(Swing(), ones(), (0, 1), solver, tally=tally)[-1]) == pytest.approx(
        EXACT, abs=10 * tolerance
    )
    assert 6 < tally.forward < 500


def test_a_smaller_tolerance_costs_more():
    costs = []
    for tolerance in (1e-3, 1e-5, 1e-8):
        tally = Tally()
        solve(Swing(), ones(), (0, 1), Solver("dopri5", 8, tolerance, tolerance), tally=tally)
        costs.append(tally.forward)
    assert costs == sorted(set(costs))


@pytest.mark.parametrize("method", ["rk4", "dopri5", "tsit5"])
def test_times_may_fall(method):
    solver = Solver(method, 64, 1e-9, 1e-9)
    back = solve(Swing(), EXACT * ones(), (1.0, 0.0), solver)[-1]
    assert float(back) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4", "dopri5", "tsit5"])
@pytest.mark.parametrize("gradient", ["autograd", "adjoint"])
def test_there_is_a_state_for_every_time_and_it_is_right(method, gradient):
    times = torch.tensor([0.2, 0.2, 0.7, 1.0, 2.3, 0.4], dtype=torch.float64)
    solver = Solver(method, 100, 1e-8, 1e-8, gradient)
    states = solve(Swing(), ones(requires_grad=True), times, solver).detach()
    assert states.shape == (6, 1, 1)
    expected = ((torch.sin(3 * times) - math.sin(0.6)) / 3).exp()
    tolerance = 0.05 if method == "euler" else 2e-3 if method == "midpoint" else 1e-6
    torch.testing.assert_close(states.flatten(), expected, atol=tolerance, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
@pytest.mark.parametrize("end", [0.7, 1.0, 2.3])
def test_no_last_time_is_missed(method, end):
    """In single precision, where torchdyn returned its input 17 times in 300."""
    x, solver = torch.randn(4, 2), Solver(method, atol=1e-4, rtol=1e-4)
    for _ in range(40):
        field = MLPField(2, (8,))
        rough, true = (
            solve(field, x, (0.0, end), by)[-1] for by in (solver, Solver("rk4", steps=12))
        )
        assert not torch.equal(rough, x)
        torch.testing.assert_close(rough, true, atol=2e-2, rtol=2e-2)


def test_states_keep_their_shape_and_precision():
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(2, 3, 1, 4, dtype=dtype)
        states = solve(lambda t, x: x + t, x, (0, 1, 2))
        assert (states.shape, states.dtype) == ((3, 2, 3, 1, 4), dtype)


def test_one_time_is_refused():
    with pytest.raises(ValueError, match=r"needs a first and a last time, got 1 times\.$"):
        solve(Swing(), ones(), (0.0,))
