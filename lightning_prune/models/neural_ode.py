"""Neural ODEs: networks whose depth is an interval of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from lightning_prune.models.fields import MLPField, as_field
from lightning_prune.solve import Solver, Tally, solve


class NeuralODE(nn.Module):
    r"""A layer that maps a state to where a field takes it.

    Args:
        field: Any module that maps states, or time and states, to velocities.
        solver: None: eight steps of rk4.
        end_time: When the state is read, > 0.

    Attributes:
        tally: Counts evaluations of the field.

    References:
        | Neural Ordinary Differential Equations (Chen et al., 2018)
        | https://arxiv.org/abs/1806.07366
    """

    def __init__(
        self, field: nn.Module, solver: Solver | None = None, end_time: float = 1.0
    ) -> None:
        super().__init__()
        if end_time <= 0:
            raise ValueError(f"end_time is > 0, got {end_time}.")
        self.field, self.solver, self.end_time = as_field(field), solver or Solver(), end_time
        self.tally = Tally()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the state at the end, in the shape of x."""
        return self.states(x, (0.0, self.end_time))[-1]

    @contextmanager
    def solved_by(self, solver: Solver) -> Iterator[None]:
        """Inside, another solver is used, and what it evaluates is not counted.

        A tight one tells what the steps of training add.
        """
        own, tally = self.solver, self.tally
        self.solver, self.tally = solver, Tally()
        try:
            yield
        finally:
            self.solver, self.tally = own, tally

    def states(self, x: Tensor, times: Tensor | Sequence[float]) -> Tensor:
        """Compute the states (k, *x.shape) at (k,) times, x at the first of them."""
        return solve(self.field, x, times, self.solver, tally=self.tally)


class ODEClassifier(nn.Module):
    r"""A classifier whose only hidden layer is a neural ODE.

    Without augmentation and with as many classes as inputs, the state at the end is the logits,
    as in Sparse Flows. Such a flow keeps the topology of the plane, so concentric circles are
    never quite separated; `augment` more dimensions, zero at the start, and a linear head let it.

    Args:
        inputs: Size of a sample.
        classes: Number of classes.
        hidden: Sizes of the field's hidden layers.
        augment: Dimensions of the state besides the inputs.
        activation: "tanh", "sigmoid", "softplus" or "relu".
        time: Whether the field sees time.
        solver: None: eight steps of rk4.

    Attributes:
        tally: Counts evaluations of the field.

    Raises:
        ValueError: If a size is out of its range.

    References:
        | Augmented Neural ODEs (Dupont et al., 2019)
        | https://arxiv.org/abs/1904.01681
    """

    def __init__(
        self,
        inputs: int = 2,
        classes: int = 2,
        hidden: Sequence[int] = (64,),
        augment: int = 0,
        activation: str = "tanh",
        time: bool = False,
        solver: Solver | None = None,
    ) -> None:
        super().__init__()
        if inputs < 1 or classes < 2 or augment < 0:
            raise ValueError(
                "ODEClassifier needs inputs >= 1, classes >= 2 and augment >= 0, got "
                f"{inputs}, {classes} and {augment}."
            )
        self.inputs, self.augment = inputs, augment
        size = inputs + augment
        self.flow = NeuralODE(MLPField(size, hidden, activation, time), solver)
        plain = augment == 0 and inputs == classes
        self.head = nn.Identity() if plain else nn.Linear(size, classes)

    @property
    def tally(self) -> Tally:
        """Counts evaluations of the field."""
        return self.flow.tally

    def solved_by(self, solver: Solver) -> AbstractContextManager[None]:
        """Inside, another solver is used."""
        return self.flow.solved_by(solver)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, classes) logits of (batch, ...) samples."""
        return self.head(self.flow(self._state(x)))

    @torch.no_grad()
    def trajectories(self, x: Tensor, times: Tensor) -> Tensor:
        """Follow (batch, inputs) samples: (k, batch, inputs + augment) states at (k,) times."""
        return self.flow.states(self._state(x), times)

    def _state(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if x.shape[1] != self.inputs:
            raise ValueError(
                f"ODEClassifier was built for {self.inputs} inputs and got {x.shape[1]}; pass "
                f"inputs={x.shape[1]}."
            )
        return torch.cat([x, x.new_zeros(len(x), self.augment)], 1) if self.augment else x
