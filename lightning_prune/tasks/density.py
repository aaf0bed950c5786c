"""Density estimation."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from lightning_prune.solve import TIGHT, Solver
from lightning_prune.tasks.base import Task
from lightning_prune.tasks.bits import bits_per_dim

COARSEST = 1e-3  # tolerance of a solver whose likelihoods can be believed to some thousandths


class Density(Task):
    r"""Density estimation by maximum likelihood, with honest likelihoods in every report.

    Logged once per epoch: `train/loss`, the mean negative log density in nats as it is trained;
    `val/nll` and `test/nll`, that of an adaptive solver and the exact trace, or as many Rademacher
    probes as asked for; `evaluations` of the field in a solve; for images also `bits_per_dim`.

    A coarse solver can be cheated: the optimizer finds fields whose discretisation gains density
    where there is none, and the training loss falls below the entropy of the data. So the solver
    of reports is never that of training, and one in fixed steps is refused.

    Args:
        net: A flow: `log_prob(x, solver, trace, probes)` gives (batch,) log densities in nats, and
            `log_prob(x)` those of training.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer, or None.
        interval: Whether the scheduler steps once an "epoch" or once a "step" of the optimizer.
        report: Solver of reported likelihoods; None: dopri5 with tolerances of 1e-5.
        probes: Rademacher probes of a reported likelihood; None: the exact trace.
        rows: Points whose likelihood is computed at a time, in reports.
        validate: Whether validation is "reported" likelihood or, where that takes too long in
            every epoch, the loss of "training".
        levels: Of the pixels of images, for bits per dimension; None: these are no images.

    Attributes:
        main_metric: The metric that compares models; logged as `val/nll` and `test/nll`.
        direction: "min", because smaller is better.

    Raises:
        ValueError: If an argument is out of its range.

    References:
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        | (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367
    """

    main_metric: ClassVar[str] = "nll"
    direction: ClassVar[Literal["max", "min"]] = "min"

    def __init__(  # noqa: PLR0913
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], Any] | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        *,
        report: Solver | None = None,
        probes: int | None = None,
        rows: int = 4096,
        validate: Literal["reported", "training"] = "reported",
        levels: int | None = None,
    ) -> None:
        report = report or TIGHT
        if report.fixed or max(report.atol, report.rtol) > COARSEST:
            raise ValueError(
                f"Reported likelihoods come from an adaptive solver with tolerances of {COARSEST} "
                f"or less, not from {report.method}: what was trained can cheat a coarse one."
            )
        if validate not in ("reported", "training"):
            raise ValueError(f'validate is "reported" or "training", not {validate!r}.')
        if (probes is not None and probes < 1) or rows < 1 or (levels is not None and levels < 2):
            raise ValueError("Density needs probes and rows from 1 on and levels from 2 on.")
        nats = partial(MeanMetric, nan_strategy=float("nan"))
        metrics = {"nll": nats} | ({"bits_per_dim": nats} if levels else {})
        super().__init__(net, optimizer, scheduler, interval, metrics)
        self.report, self.probes, self.rows = report, probes, rows
        self.validate, self.levels = validate, levels

    def loss(self, batch: Any, part: str) -> Tensor:
        """Compute the mean negative log density of a batch of points, or (points, labels)."""
        points = batch[0] if isinstance(batch, list | tuple) else batch
        if part == "train" or (part == "val" and self.validate == "training"):
            loss = -self.net.log_prob(points).mean()  # type: ignore[operator]
            self.metric(part, "loss").update(loss.detach(), len(points))
            return loss
        nll = -self.reported(points).mean()
        self.metric(part, "loss").update(nll, len(points))
        self.metric(part, "nll").update(nll, len(points))
        if self.levels:
            bits = bits_per_dim(-nll, points[0].numel(), self.levels)
            self.metric(part, "bits_per_dim").update(bits, len(points))
        return nll

    @torch.no_grad()
    def reported(self, points: Tensor) -> Tensor:
        """Compute the log density of (batch, ...) points as reports give it, (batch,) in nats."""
        trace = "exact" if self.probes is None else "rademacher"
        parts = [
            self.net.log_prob(part, self.report, trace, self.probes or 1)  # type: ignore[operator]
            for part in points.split(self.rows)
        ]
        return torch.cat(parts)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the log density of points as reports give it, (batch,) in nats."""
        return self.reported(batch[0] if isinstance(batch, list | tuple) else batch)

    def about(self) -> dict[str, Any]:
        """How the likelihoods of a report were computed."""
        trace = "exact" if self.probes is None else f"{self.probes} Rademacher probes"
        return {
            "solver": self.report.method, "atol": self.report.atol, "rtol": self.report.rtol,
            "trace": trace,
        }  # fmt: skip
