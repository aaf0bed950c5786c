"""The classic Runge-Kutta solver of torchdyn with its own nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torchdyn.numerics.solvers.ode import RungeKutta4


def corrected_rk4(dtype: torch.dtype = torch.float32) -> RungeKutta4:
    r"""Torchdyn's `rk4` that is of fourth order for fields that depend on time, too.

    The published one evaluates its stages at :math:`t, t, t + h/2, t + h/2` (torchdyn 1.0.6), which
    is of first order for such fields. `NeuralODE(field, solver=corrected_rk4())` takes this one;
    `Solver("rk4")` does not need it.

    Args:
        dtype: Of the states.
    """
    from torchdyn.numerics.solvers.ode import RungeKutta4

    solver = RungeKutta4(dtype)
    _, a, b, e = solver.tableau
    solver.tableau = (torch.tensor([0.5, 0.5, 1.0], dtype=dtype), a, b, e)
    return solver
