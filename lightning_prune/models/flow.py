"""Continuous normalising flows: densities by integrating a field from data to noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.models.divergence import TRACES, LogDetField, Trace, draw_probe
from lightning_prune.models.fields import as_field
from lightning_prune.solve import Solver, Tally, solve


class CNF(nn.Module):
    r"""A continuous normalising flow of one or several fields, one after another.

    :math:`\log p(x) = \log N(z; 0, I) + \sum_k \int_0^{T_k} \mathrm{tr} \frac{\partial f_k}
    {\partial x} dt`, where z is where x arrives. The probes of a stochastic trace are drawn once a
    solve and belong to it, not to the module.

    Args:
        fields: A field, or several; any module that maps states to velocities.
        dims: Size of a point.
        solver: For training and for everything that is not told another one.
        trace: "exact" (dims products with the Jacobian an evaluation), or one product with a
            "rademacher" or "gaussian" probe.
        end_time: Until when every field is integrated, > 0.
        trainable_end_time: Whether end times are trained (as squares of a parameter, which is
            there in any case if this is not None); None: they are no parameters.

    Attributes:
        tally: Counts evaluations of the fields.

    Raises:
        ValueError: If an argument is out of its range.

    References:
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        | (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367
    """

    def __init__(
        self,
        fields: nn.Module | Sequence[nn.Module],
        dims: int = 2,
        solver: Solver | None = None,
        trace: Trace = "exact",
        end_time: float = 1.0,
        trainable_end_time: bool | None = None,
    ) -> None:
        super().__init__()
        if trace not in TRACES:
            raise ValueError(f"trace is one of {', '.join(TRACES)}, not {trace!r}.")
        if end_time <= 0 or dims < 1:
            raise ValueError(f"CNF needs end_time > 0 and dims >= 1, got {end_time} and {dims}.")
        given = [fields] if isinstance(fields, nn.Module) else list(fields)
        if not given:
            raise ValueError("CNF needs at least one field.")
        self.fields = nn.ModuleList(as_field(field) for field in given)
        self.dims, self.solver, self.trace = dims, solver or Solver(), trace
        self.end_time = end_time
        self.roots = nn.ParameterList()
        if trainable_end_time is not None:
            root = torch.tensor(math.sqrt(end_time))
            self.roots.extend(
                nn.Parameter(root.clone(), requires_grad=trainable_end_time) for _ in given
            )
        self._with_divergence = [LogDetField(f, (dims,)) for f in self.fields]  # type: ignore[arg-type]
        self.tally = Tally()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the log density of (batch, dims) points, (batch,), as it is trained."""
        return self.log_prob(x)

    def log_prob(
        self,
        x: Tensor,
        solver: Solver | None = None,
        trace: Trace | None = None,
        probes: int = 1,
    ) -> Tensor:
        """Compute the log density of points.

        Args:
            x: (batch, dims).
            solver: None: the flow's own.
            trace: None: the flow's own.
            probes: Of a stochastic trace, whose mean is taken.

        Returns:
            (batch,) in nats.
        """
        z, logdet = self.transform(x, solver, trace, probes)
        return standard_normal(z) + logdet

    def transform(
        self,
        x: Tensor,
        solver: Solver | None = None,
        trace: Trace | None = None,
        probes: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Move points from data to noise.

        Returns:
            (batch, dims) where they arrive, and (batch,) the log determinant of the way.
        """
        self._check(x)
        logdet = x.new_zeros(len(x))
        for number in range(len(self.fields)):
            times = (0.0, self.end(number))
            x, way = self._move(number, x, times, solver, trace or self.trace, probes)
            logdet = logdet + way
        return x, logdet

    def invert(
        self,
        z: Tensor,
        solver: Solver | None = None,
        trace: Trace | None = None,
        probes: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Move points from noise to data; the log determinant is that of this way back."""
        self._check(z)
        logdet = z.new_zeros(len(z))
        for number in reversed(range(len(self.fields))):
            times = (self.end(number), 0.0)
            z, way = self._move(number, z, times, solver, trace or self.trace, probes)
            logdet = logdet + way
        return z, logdet

    @torch.no_grad()
    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        solver: Solver | None = None,
    ) -> Tensor:
        """Draw (count, dims) points from the model."""
        like = next(self.parameters(), torch.zeros(()))
        z = torch.randn(count, self.dims, generator=generator, dtype=like.dtype)
        for number in reversed(range(len(self.fields))):
            z = self._states(number, z.to(like.device), (self.end(number), 0.0), solver)[-1]
        return z

    @torch.no_grad()
    def trajectories(self, z: Tensor, times: Tensor, solver: Solver | None = None) -> Tensor:
        """Follow points from noise to data.

        Args:
            z: (batch, dims) at time 1.
            times: (k,) falling from 1 to 0, as shares of the whole way of one field.
            solver: None: the flow's own.

        Returns:
            (k, batch, dims); of several fields the way through all of them, the last one first.
        """
        self._check(z)
        ways = []
        for number in reversed(range(len(self.fields))):
            ways.append(self._states(number, z, times * float(self.end(number)), solver))
            z = ways[-1][-1]
        last = len(times) - 1
        # each of n ways has as many states: every n-th of all is shown, the first and the last too
        chosen = [divmod(i * len(ways), last) for i in range(last)]
        return torch.stack([*(ways[way][place] for way, place in chosen), z])

    @torch.no_grad()
    def velocity(self, t: float, x: Tensor) -> Tensor:
        """Compute the first field's velocity at (batch, dims) points."""
        return self.fields[0](torch.as_tensor(t, dtype=x.dtype, device=x.device), x)

    def end(self, number: int) -> float | Tensor:
        """End time of a field."""
        return self.roots[number] ** 2 if len(self.roots) else self.end_time

    def _move(
        self,
        number: int,
        x: Tensor,
        times: tuple[float | Tensor, float | Tensor],
        solver: Solver | None,
        trace: Trace | None,
        probes: int,
    ) -> tuple[Tensor, Tensor]:
        """Where a field takes points, and the log determinant of that; zeros without a trace."""
        if trace is None:
            return self._states(number, x, times, solver)[-1], x.new_zeros(len(x))
        # from zero in every solve: a large one would loosen the relative tolerance
        state = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)
        state = self._solve(number, state, times, solver, draw_probe(trace, x, probes))[-1]
        return state[:, :-1].view_as(x), state[:, -1]

    def _solve(
        self,
        number: int,
        state: Tensor,
        times: Sequence[Any],
        solver: Solver | None,
        probe: Tensor | None,
    ) -> Tensor:
        context = () if probe is None else (probe,)
        known, field = self._with_divergence[number], self.fields[number]
        if known.field is not field:  # it was replaced
            self._with_divergence[number] = LogDetField(as_field(field), known.shape)
        return solve(
            self._with_divergence[number], state, times, solver or self.solver,
            context=context, tally=self.tally,
        )  # fmt: skip

    def _states(self, number: int, x: Tensor, times: Any, solver: Solver | None) -> Tensor:
        return solve(self.fields[number], x, times, solver or self.solver, tally=self.tally)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] != self.dims:
            raise ValueError(
                f"The flow is one of points of {self.dims} numbers and got {tuple(x.shape)}; build "
                "it with dims= the size of a point (dataset.inputs on the command line)."
            )


def standard_normal(z: Tensor) -> Tensor:
    """Log density of (batch, ...) points under independent standard normals, (batch,)."""
    flat = z.flatten(1)
    return -0.5 * flat.square().sum(1) - flat.shape[1] / 2 * math.log(2 * math.pi)
