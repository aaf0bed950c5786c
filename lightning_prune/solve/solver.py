"""What a solve is: its method, its accuracy, how gradients are taken, and when it gives up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Gradient = Literal["autograd", "adjoint", "interpolated_adjoint"]

FIXED = {"euler": 1, "midpoint": 2, "rk4": 4}  # evaluations a step
ADAPTIVE = ("dopri5", "tsit5")
GRADIENTS = ("autograd", "adjoint", "interpolated_adjoint")


class SolveError(ValueError):
    """A solve cannot end well: the state or its velocity is not finite, or the budget is spent.

    Attributes:
        time: Where it stopped, in the field's own time.
        evaluations: Of the field, until then.
        largest: Largest absolute value of the state there.
    """

    def __init__(self, what: str, time: float, evaluations: int, largest: float) -> None:
        super().__init__(
            f"The solve {what} at time {time:.4g} after {evaluations:,} evaluations, with states "
            f"up to {largest:.3g}; lower the learning rate, loosen the solver's tolerances or "
            "raise its budget."
        )
        self.what, self.time, self.evaluations, self.largest = what, time, evaluations, largest

    def __reduce__(self) -> tuple[Any, ...]:
        # or else an exception is made anew from its message alone
        return type(self), (self.what, self.time, self.evaluations, self.largest)


@dataclass(frozen=True)
class Solver:
    r"""How an ordinary differential equation is solved.

    Fixed steps cost the same whatever the field has learned; adaptive ones follow a tolerance, and
    their cost grows while a flow trains. Eight steps of `rk4` give the likelihood of a trained
    planar flow to 1e-5 nats.

    Args:
        method: "euler", "midpoint" or "rk4" in fixed steps; "dopri5" or "tsit5" adaptive.
        steps: Number of fixed steps between two requested times.
        atol: Absolute tolerance of adaptive steps.
        rtol: Relative tolerance of adaptive steps.
        gradient: "autograd" through the steps; "adjoint", which solves backward in time with
            constant memory; "interpolated_adjoint", which reads the states of the backward solve
            from a cubic Hermite spline through those of the forward solve.
        budget: Evaluations of the field between two times after which a solve is given up; the
            adjoint's backward solve has as many again.
        compiled: Compile one fixed step with `torch.compile`; takes a C++ compiler and some
            seconds for every network and batch size.

    Raises:
        ValueError: If an argument is unknown or out of its range, or the pair is not supported.

    References:
        | Neural Ordinary Differential Equations (Chen et al., 2018)
        | https://arxiv.org/abs/1806.07366
    """

    method: str = "rk4"
    steps: int = 8
    atol: float = 1e-5
    rtol: float = 1e-5
    gradient: Gradient = "autograd"
    budget: int = 2000
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.method not in (*FIXED, *ADAPTIVE):
            raise ValueError(
                f"There is no solver {self.method!r}; there are {', '.join((*FIXED, *ADAPTIVE))}."
            )
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient is one of {', '.join(GRADIENTS)}, not {self.gradient!r}.")
        if self.steps < 1 or self.budget < 1 or not (self.atol > 0 and self.rtol > 0):
            raise ValueError("A solver needs steps and budget of at least 1 and tolerances > 0.")
        if self.fixed and self.evaluations > self.budget:
            raise ValueError(
                f"{self.steps} steps of {self.method} are {self.evaluations:,} evaluations, more "
                f"than the budget of {self.budget:,}."
            )
        if self.fixed and self.gradient == "interpolated_adjoint":
            raise ValueError(
                "The interpolated adjoint reads states between steps, whose distance only an "
                f"adaptive solver controls; take {' or '.join(ADAPTIVE)}, or another gradient."
            )
        if self.compiled and (not self.fixed or self.gradient != "autograd"):
            raise ValueError(
                "compiled=True is for fixed steps (euler, midpoint, rk4) with gradient='autograd'."
            )

    @property
    def fixed(self) -> bool:
        """Whether the steps, and so the cost, are the same for every field."""
        return self.method in FIXED

    @property
    def evaluations(self) -> int:
        """Evaluations between two times in fixed steps."""
        return self.steps * FIXED[self.method]


# what reported numbers are computed with; a coarse solver can be cheated by what it trains
TIGHT = Solver("dopri5", atol=1e-5, rtol=1e-5, budget=20_000)
