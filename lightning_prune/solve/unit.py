"""Solves on the unit interval, by fixed steps or by torchdyn's adaptive ones."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_prune.solve.guard import Guard
from lightning_prune.solve.solver import Solver
from lightning_prune.solve.steps import step_of


def unit_solve(
    guard: Guard,
    state: Tensor,
    solver: Solver,
    everything: bool = False,
    seminorm: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Solve on the unit interval by any method.

    Arguments:
        guard: The velocity.
        state: At 0.
        solver: Method and tolerances.
        everything: Give the states of all steps, not the first and the last only.
        seminorm: So many leading entries of a flat state control the steps; None: all.

    Returns:
        (k,) times from 0 to 1, and (k, *state.shape) states.
    """
    if not solver.fixed:
        return adaptive(guard, state, solver, everything, seminorm)
    x, step = state, step_of(guard, solver.method, 1 / solver.steps, compiled=False)
    zero, one = state.new_zeros(()), state.new_ones(())
    for s in torch.arange(solver.steps, dtype=x.dtype, device=x.device) / solver.steps:
        x = step(s, x, zero, one)
    return torch.stack([zero, one]), torch.stack([state, x])


def adaptive(
    guard: Guard,
    state: Tensor,
    solver: Solver,
    everything: bool = False,
    seminorm: int | None = None,
) -> tuple[Tensor, Tensor]:
    """By torchdyn's adaptive steps."""
    from torchdyn.numerics.odeint import odeint
    from torchdyn.numerics.solvers.ode import str_to_solver

    method = str_to_solver(solver.method, state.dtype)
    # in torchdyn's single precision they round steps and stages, to 1e-8, of a double solve, too
    for name in ("safety", "min_factor", "max_factor"):
        setattr(method, name, getattr(method, name).to(state.dtype))
    times = torch.tensor([0.0, 1.0], dtype=state.dtype, device=state.device)
    by = (seminorm is not None, seminorm)
    found, states = odeint(
        guard, state, times, method, solver.atol, solver.rtol,
        return_all_eval=everything, seminorm=by,
    )  # fmt: skip
    # on the unit interval the last step ends at 1 to the last digit: 1 - t and its sum with t are
    # rounded back to 1 for every t of the interval
    if float(found[-1].detach()) != 1.0:
        raise guard.error("did not reach its last time", float(found[-1].detach()), states[-1])
    return found, states
