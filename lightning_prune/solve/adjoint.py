"""The adjoint: gradients of a solve by another solve, backward in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_prune.solve.guard import Guard
from lightning_prune.solve.solver import Solver
from lightning_prune.solve.spline import Hermite
from lightning_prune.solve.tally import Tally
from lightning_prune.solve.unit import unit_solve


@dataclass(frozen=True)
class Problem:
    """A solve between two times, as the backward pass has to repeat it.

    Everything that the field reads, a trace's probe among it, is held here and not on a module,
    so that several solves may wait for their backward passes.

    Arguments:
        field: (t, x, *context) -> dx/dt.
        context: Tensors that the field gets.
        solver: How it is solved.
        parameters: What gradients are wanted of.
        tally: Counts the backward solve too.
    """

    field: Callable[..., Tensor]
    context: tuple[Any, ...]
    solver: Solver
    parameters: tuple[Tensor, ...]
    tally: Tally | None

    def velocity(self, start: Tensor, span: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """dx/ds on the unit interval."""
        return lambda s, x: span * self.field(start + s * span, x, *self.context)

    def guard(self, velocity: Any, start: Tensor, span: Tensor, what: str = "") -> Guard:
        """The velocity under the solver's budget."""
        begin, length = float(start.detach()), float(span.detach())
        return Guard(velocity, self.solver.budget, lambda s: begin + s * length, what)


class Adjoint(torch.autograd.Function):
    """The solve as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, x: Tensor, start: Tensor, span: Tensor, *parameters: Tensor
    ) -> Tensor:
        """State at the end."""
        interpolated = problem.solver.gradient == "interpolated_adjoint"
        guard = problem.guard(problem.velocity(start, span), start, span)
        times, states = unit_solve(guard, x, problem.solver, interpolated)
        ctx.spline = None
        if interpolated:
            slopes = torch.stack([guard(s, y) for s, y in zip(times, states, strict=True)])
            ctx.spline = Hermite(times, states, slopes)
        if problem.tally is not None:
            problem.tally.forward += guard.calls
        ctx.problem = problem
        ctx.save_for_backward(states[-1], start, span)
        return states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of state, times and parameters: the adjoint equation from the end on."""
        problem: Problem = ctx.problem
        end, start, span = ctx.saved_tensors
        start, span = (time.detach().requires_grad_() for time in (start, span))
        inputs = (start, span, *problem.parameters)
        size, shape = end.numel(), end.shape
        sizes = [tensor.numel() for tensor in inputs]
        spline: Hermite | None = ctx.spline
        carried = 0 if spline is not None else size  # the state itself goes back as well

        def backward_velocity(r: Tensor, packed: Tensor) -> Tensor:
            s = 1 - r
            adjoint = packed[carried : carried + size].view(shape)
            with torch.enable_grad():
                x = (spline(s) if spline is not None else packed[:size].view(shape)).detach()
                x.requires_grad_()
                dx = problem.velocity(start, span)(s.detach(), x)
                found = torch.autograd.grad(
                    dx, (x, *inputs), adjoint, allow_unused=True, materialize_grads=True
                )
            parts = [found[0].reshape(-1), *(g.reshape(-1) for g in found[1:])]
            if spline is None:
                parts.insert(0, -dx.detach().reshape(-1))
            return torch.cat([part.to(packed.dtype) for part in parts])

        guard = problem.guard(backward_velocity, start, span, "backward ")
        guard.time, forward_time = (lambda r: forward_time(1 - r)), guard.time
        packed = torch.cat([end.reshape(-1)[:carried], grad.reshape(-1), end.new_zeros(sum(sizes))])
        # only state and adjoint say how small a step must be: the rest are integrals of theirs
        _, states = unit_solve(guard, packed, problem.solver, False, carried + size)
        if problem.tally is not None:
            problem.tally.backward += guard.calls
        final = states[-1][carried:]
        grad_x, *rest = final.split([size, *sizes])
        grads = [part.view(of.shape) for part, of in zip(rest, inputs, strict=True)]
        return None, grad_x.view(shape), *grads
