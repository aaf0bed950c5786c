"""Flows of tables: concat-squash fields, one after another."""

from __future__ import annotations

from lightning_prune.models.concat_squash import ConcatSquashField
from lightning_prune.models.divergence import Trace
from lightning_prune.models.fields import Field
from lightning_prune.models.flow import CNF
from lightning_prune.solve import Solver


class TabularFlow(CNF):
    r"""A flow of concat-squash fields with trainable end times, for tables.

    The original builds its end time from a detached number and never trains it; with
    `trainable_end_time=False` it stays where it is here, too.

    Args:
        dims: Size of a row.
        blocks: Number of fields.
        layers: Hidden layers of a field.
        factor: Their size, in multiples of dims.
        activation: "tanh", "sigmoid", "softplus" or "relu".
        solver: None: eight steps of rk4.
        trace: See `CNF`; by default one Rademacher probe.
        trainable_end_time: Whether end times are trained.

    References:
        | Sparse Flows: Pruning Continuous-depth Models (Liebenwein et al., 2021)
        | https://arxiv.org/abs/2106.12718
    """

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        blocks: int = 1,
        layers: int = 2,
        factor: int = 10,
        activation: str = "tanh",
        solver: Solver | None = None,
        trace: Trace = "rademacher",
        trainable_end_time: bool = True,
    ) -> None:
        if min(blocks, layers, factor) < 1:
            raise ValueError("TabularFlow needs blocks, layers and factor of at least 1.")
        fields: list[Field] = [
            ConcatSquashField(dims, [factor * dims] * layers, activation) for _ in range(blocks)
        ]
        super().__init__(fields, dims, solver, trace, trainable_end_time=trainable_end_time)
