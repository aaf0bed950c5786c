"""Every solve ends: what would hang or go on in nonsense is refused in one sentence."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch

from lightning_prune.solve import SolveError, Solver, Tally, solve

ADAPTIVE = ("dopri5", "tsit5")


class Backwards(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor, None


def sentence(error):
    """The message, which is one sentence of a time, evaluations and advice."""
    text = str(error.value)
    assert text.count(". ") == 0
    assert text.endswith("raise its budget.")
    assert f"at time {error.value.time:.4g} after {error.value.evaluations:,} evaluations" in text
    return text


@pytest.mark.parametrize("gradient", ["autograd", "adjoint"])
@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4", *ADAPTIVE])
def test_a_field_of_nan_is_refused(method, gradient):
    with pytest.raises(SolveError, match="not finite") as error:
        solve(lambda t, x: x * math.nan, torch.ones(2, requires_grad=True), (0.0, 1.0),
              Solver(method, gradient=gradient))  # fmt: skip
    sentence(error)
    assert error.value.evaluations <= 32


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_velocity_that_becomes_infinite_later_is_met_where_it_is(method):
    def field(t, x):
        return torch.where(t > 2.5, torch.full_like(x, torch.inf), torch.ones_like(x))

    with pytest.raises(SolveError, match="met a velocity that is not finite") as error:
        solve(field, torch.zeros(3), (2.0, 3.0), Solver(method))
    assert 2.5 < error.value.time <= 3
    assert error.value.largest < 2


@pytest.mark.parametrize(
    "solver", [Solver("dopri5"), Solver("tsit5"), Solver("rk4", 100), Solver("euler", 100),
               Solver("dopri5", gradient="adjoint"),
               Solver("dopri5", gradient="interpolated_adjoint")]
)  # fmt: skip
def test_a_solution_that_ends_before_its_time_is_refused(solver):
    """x' = x^2 from 2 is 1 / (1/2 - t)."""
    tally = Tally()
    with pytest.raises(SolveError) as error:
        solve(lambda t, x: x * x, torch.full((1,), 2.0, requires_grad=True), (0.0, 1.0), solver,
              tally=tally)  # fmt: skip
    sentence(error)
    assert error.value.evaluations <= solver.budget
    if not solver.fixed:
        assert error.value.time == pytest.approx(0.5, abs=0.01)
        assert not error.value.largest < 1e3  # NaN where an error overflowed
    if solver.gradient == "autograd":
        assert tally.forward == error.value.evaluations
    assert tally.solves == 0


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_spent_budget_is_an_error_of_as_many_evaluations(method):
    calls = []

    def field(t, x):
        calls.append(float(t))
        return torch.cos(500 * t) * x

    with pytest.raises(SolveError, match="spent its budget") as error:
        solve(field, torch.ones(1), (0.0, 1.0), Solver(method, budget=50))
    assert "after 50 evaluations" in sentence(error)
    assert len(calls) == error.value.evaluations == 50
    assert 0 < error.value.time < 1


def test_the_time_is_the_fields_own_also_where_times_fall():
    with pytest.raises(SolveError, match="at time 3 ") as error:
        solve(lambda t, x: x * math.nan, torch.ones(1), (3.0, -1.0), Solver("dopri5"))
    assert (error.value.time, error.value.largest) == (3, 1)


@pytest.mark.parametrize("method", ["euler", "rk4", *ADAPTIVE])
@pytest.mark.parametrize(
    "field",
    [lambda t, x: 0 * Backwards.apply(x, math.nan), lambda t, x: x.abs().sqrt()],
    ids=["nan", "root at zero"],
)
def test_a_gradient_of_nan_is_refused_in_the_backward_solve(field, method):
    x = torch.zeros(2, requires_grad=True)
    end = solve(field, x, (0.0, 1.0), Solver(method, gradient="adjoint"))[-1]
    assert bool(end.isfinite().all())
    with pytest.raises(SolveError, match="backward met a velocity that is not finite") as error:
        end.sum().backward()
    sentence(error)
    assert (error.value.time, error.value.evaluations) == (1, 1)


@pytest.mark.parametrize("gradient", ["adjoint", "interpolated_adjoint"])
def test_an_adjoint_that_explodes_ends_within_the_budget(gradient):
    def field(t, x):
        return 0 * x + Backwards.apply(x, 1e5) - x  # a solution at rest, and a growth of e^100000

    x = torch.ones(2, requires_grad=True)
    solver = Solver("dopri5", gradient=gradient, budget=80)
    end = solve(field, x, (0.0, 1.0), solver)[-1]
    with pytest.raises(SolveError, match="The solve backward ") as error:
        end.sum().backward()
    sentence(error)
    assert error.value.evaluations <= 80
    assert 0.9 < error.value.time <= 1


def test_an_error_is_a_value_error_with_numbers():
    error = SolveError("stopped", 0.25, 1234, 5e6)
    assert isinstance(error, ValueError)
    assert (error.time, error.evaluations, error.largest) == (0.25, 1234, 5e6)
    assert str(error).startswith("The solve stopped at time 0.25 after 1,234 evaluations, with ")


def test_an_error_can_be_copied_and_pickled():
    """As it has to be, to come back from another process."""
    error = SolveError("stopped", 0.25, 1234, 5e6)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.time, twin.evaluations) == (str(error), 0.25, 1234)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rk5"}, "There is no solver 'rk5'; there are euler, "),
        ({"gradient": "none"}, "gradient is one of autograd, adjoint, interpolated_adjoint"),
        ({"steps": 0}, "at least 1 and tolerances > 0"),
        ({"budget": 0}, "at least 1 and tolerances > 0"),
        ({"method": "dopri5", "atol": 0.0}, "at least 1 and tolerances > 0"),
        ({"method": "dopri5", "rtol": -1e-5}, "at least 1 and tolerances > 0"),
        ({"method": "dopri5", "rtol": math.nan}, "at least 1 and tolerances > 0"),
        ({"steps": 501}, "501 steps of rk4 are 2,004 evaluations, more than the budget of 2,000"),
        ({"gradient": "interpolated_adjoint"}, "take dopri5 or tsit5, or another gradient"),
        ({"method": "dopri5", "compiled": True}, "compiled=True is for fixed steps"),
        ({"gradient": "adjoint", "compiled": True}, "compiled=True is for fixed steps"),
    ],
)
def test_solvers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as error:
        Solver(**options)
    assert str(error.value).endswith(".")
    assert ". " not in str(error.value)


def test_solvers_are_values():
    assert Solver("euler", 3) == Solver("euler", 3) != Solver("euler", 4)
    assert (Solver("euler", 3).evaluations, Solver("rk4", 3).evaluations) == (3, 12)
    assert pickle.loads(pickle.dumps(Solver())) == Solver()
