"""Regression."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric
from torchmetrics.regression import MeanAbsoluteError, R2Score

from lightning_prune.tasks.base import Task


class Regression(Task):
    r"""Regression by squared error, with loss, absolute error and R2.

    Logged once per epoch: `train/loss`, `train/mae`, `train/r2`, and the same for `val` and `test`.
    The loss is the mean squared error. Both errors are in the units of the targets as the data
    module gives them. R2 is 1 minus the squared error over that of the mean target, NaN for a
    single target.

    Args:
        net: Maps a batch of inputs to predictions of (batch, outputs).
        optimizer: Makes the optimizer from the parameters, e.g. `functools.partial(torch.optim.SGD,
            lr=0.1)`.
        scheduler: Makes the learning-rate scheduler from the optimizer, or None.
        interval: Whether the scheduler steps once an "epoch" or once a "step" of the optimizer.

    Attributes:
        main_metric: The metric that compares models; logged as `val/mae` and `test/mae`.
        direction: "min", because smaller is better.

    Raises:
        ValueError: If an argument is out of its range, or predictions and targets of a batch have
            different shapes.
    """

    main_metric: ClassVar[str] = "mae"
    direction: ClassVar[Literal["max", "min"]] = "min"

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], Any] | None = None,
        interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        metrics: dict[str, Callable[[], Metric]] = {"mae": MeanAbsoluteError, "r2": R2}
        super().__init__(net, optimizer, scheduler, interval, metrics)

    def loss(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        """Compute the squared error of a batch of (inputs, targets)."""
        inputs, targets = batch
        predictions = self.net(inputs)
        # equal shapes, because (batch,) against (batch, 1) would broadcast in silence
        if predictions.shape != targets.shape or not targets.is_floating_point():
            raise ValueError(
                f"The network gives {tuple(predictions.shape)} and the targets are "
                f"{tuple(targets.shape)}, {targets.dtype}; a regression needs floats of equal "
                "shapes: build the network with as many outputs (dataset.classes) as targets."
            )
        loss = F.mse_loss(predictions, targets)
        self.metric(part, "loss").update(loss.detach(), len(targets))
        for name in ("mae", "r2"):
            self.metric(part, name).update(predictions.detach().flatten(), targets.flatten())
        return loss


class R2(R2Score):
    """R2 that is NaN for a single target, for which it is not defined."""

    def compute(self) -> Tensor:
        """Compute R2 of all targets so far."""
        return super().compute() if self.total > 1 else self.residual * float("nan")
