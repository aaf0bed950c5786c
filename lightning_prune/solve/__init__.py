"""Solving ordinary differential equations, guarded: every solve ends, and says what it cost."""

from lightning_prune.solve.integrate import solve
from lightning_prune.solve.rk4 import corrected_rk4
from lightning_prune.solve.solver import TIGHT, Gradient, SolveError, Solver
from lightning_prune.solve.tally import Tally

__all__ = ["TIGHT", "Gradient", "SolveError", "Solver", "Tally", "corrected_rk4", "solve"]
