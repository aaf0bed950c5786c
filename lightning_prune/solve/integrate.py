"""Solve: a field from one time to others, by the solver asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.solve.adjoint import Adjoint, Problem
from lightning_prune.solve.guard import finite, largest
from lightning_prune.solve.solver import SolveError, Solver
from lightning_prune.solve.steps import step_of
from lightning_prune.solve.tally import Tally
from lightning_prune.solve.unit import adaptive


def solve(
    field: Callable[..., Tensor],
    state: Tensor,
    times: Tensor | Sequence[float | Tensor] = (0.0, 1.0),
    solver: Solver | None = None,
    *,
    context: tuple[Any, ...] = (),
    parameters: Iterable[Tensor] | None = None,
    tally: Tally | None = None,
) -> Tensor:
    r"""Solve :math:`dx/dt = f(t, x)` from the first time on.

    Every interval between two times is solved on the unit interval, with
    :math:`dx/ds = (t_1 - t_0) f(t_0 + s (t_1 - t_0), x)`: no requested time can be missed by
    rounding, times may fall, and they may carry gradients, as a trainable end time does.

    Args:
        field: (t, x, *context) -> dx/dt, with t of no dimension and dx/dt of the shape of x.
        state: At the first time, of any shape.
        times: (k,) in any order, k >= 2.
        solver: Method, accuracy and kind of gradient; None: eight steps of rk4, autograd.
        context: What the field gets besides, the same in the whole solve: a trace's probe, say.
        parameters: What the adjoint takes gradients of; None: all parameters of the field, if
            it is a module. Those that need none, or that do not matter, may be among them.
        tally: Counts evaluations.

    Returns:
        (k, *state.shape): the states at all times, the given one first.

    Raises:
        SolveError: If a state or velocity is not finite, or the budget of evaluations is spent; in
            the backward pass too.
        ValueError: If there are fewer than two times.
    """
    solver = solver or Solver()
    if len(times) < 2:
        raise ValueError(f"A solve needs a first and a last time, got {len(times)} times.")
    if parameters is None:
        parameters = field.parameters() if isinstance(field, nn.Module) else ()
    wanted = tuple(p for p in parameters if p.requires_grad)
    problem = Problem(field, context, solver, wanted, tally)
    states = [state]
    for begin, end in itertools.pairwise(times):
        start = torch.as_tensor(begin, dtype=state.dtype, device=state.device)
        span = torch.as_tensor(end, dtype=state.dtype, device=state.device) - start
        states.append(_solve(problem, states[-1], start, span))
    if tally is not None:
        tally.solves += 1
    return torch.stack(states)


def _solve(problem: Problem, state: Tensor, start: Tensor, span: Tensor) -> Tensor:
    """The state at the end of one interval."""
    solver = problem.solver
    if solver.gradient != "autograd" and torch.is_grad_enabled():
        return Adjoint.apply(problem, state, start, span, *problem.parameters)
    if solver.fixed:
        return _fixed(problem, state, start, span)
    guard = problem.guard(problem.velocity(start, span), start, span)
    try:
        return adaptive(guard, state, solver)[1][-1]
    finally:
        if problem.tally is not None:
            problem.tally.forward += guard.calls


def _fixed(problem: Problem, x: Tensor, start: Tensor, span: Tensor) -> Tensor:
    """Steps of equal length, checked at their end: they end by themselves."""
    solver = problem.solver
    step = step_of(problem.field, solver.method, 1 / solver.steps, solver.compiled)
    for s in torch.arange(solver.steps, dtype=x.dtype, device=x.device) / solver.steps:
        x = step(s, x, start, span, *problem.context)
    if problem.tally is not None:
        problem.tally.forward += solver.evaluations
    if not finite(x):
        raise SolveError(
            "met a state that is not finite",
            float((start + span).detach()),
            solver.evaluations,
            largest(x),
        )
    return x
