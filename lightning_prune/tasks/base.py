"""What all tasks have in common."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, cast

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric

PARTS = ("train", "val", "test")


class Task(pl.LightningModule):
    r"""Training of a network on batches of (inputs, targets), with metrics once per epoch.

    A subclass computes the loss and updates its metrics in `loss`. Each metric is logged as
    `train/...`, `val/...` and `test/...`, the loss among them; of networks of continuous depth,
    which have a `tally`, also `evaluations`: of a field in one forward solve, on average.

    Args:
        net: The network.
        optimizer: Makes the optimizer from the parameters, e.g. `functools.partial(torch.optim.SGD,
            lr=0.1)`.
        scheduler: Makes the learning-rate scheduler from the optimizer, or None.
        interval: Whether the scheduler steps once an "epoch" or once a "step" of the optimizer.
        metrics: Makes each metric but the loss, by name.

    Attributes:
        main_metric: The metric that compares models.
        direction: Whether "max" or "min" is better.

    Raises:
        ValueError: If an argument is out of its range.
    """

    main_metric: ClassVar[str]
    direction: ClassVar[Literal["max", "min"]]

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], Any] | None,
        interval: Literal["epoch", "step"],
        metrics: Mapping[str, Callable[[], Metric]],
    ) -> None:
        super().__init__()
        if interval not in ("epoch", "step"):
            raise ValueError(f'interval is "epoch" or "step", got {interval!r}.')
        self.net = net
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.interval = interval
        self.metrics = nn.ModuleDict()
        for part in PARTS:
            # imputing NaN for NaN lets a loss that blew up be seen, and is silent
            self.metrics[f"{part}/loss"] = MeanMetric(nan_strategy=float("nan"))
            for name, make in metrics.items():
                self.metrics[f"{part}/{name}"] = make()
            if self._tally is not None:
                self.metrics[f"{part}/evaluations"] = MeanMetric()

    @abstractmethod
    def loss(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        """Compute the loss of a batch of (inputs, targets), and update the metrics of the part."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the output of the network."""
        return self.net(inputs)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the training loss of a batch."""
        return self._counted(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the validation loss of a batch."""
        return self._counted(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the test loss of a batch."""
        return self._counted(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the output for a batch of inputs, or of (inputs, targets)."""
        return self(batch[0] if isinstance(batch, list | tuple) else batch)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics."""
        self.log_metrics("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self.log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self.log_metrics("test")

    def configure_optimizers(self) -> Any:
        """Make the optimizer and, if there is one, the scheduler."""
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.make_scheduler(optimizer), "interval": self.interval}
        if isinstance(scheduler["scheduler"], ReduceLROnPlateau):
            scheduler["monitor"] = "val/loss"
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def log_metrics(self, part: str) -> None:
        """Log all metrics of a part."""
        # once an epoch, because `log` costs a small network more than its optimizer's step
        for key, metric in self.metrics.items():
            of, _, name = key.partition("/")
            if of == part and cast(Metric, metric).update_called:
                self.log(key, cast(Metric, metric), prog_bar=name == self.main_metric)

    @property
    def _tally(self) -> Any:
        """What counts evaluations, in a network of continuous depth."""
        return getattr(self.net, "tally", None)

    def _counted(self, batch: Any, part: str) -> Tensor:
        """Compute the loss, and note how many evaluations a solve took."""
        if self._tally is None:
            return self.loss(batch, part)
        self._tally.reset()
        loss = self.loss(batch, part)
        if self._tally.solves:
            self.metric(part, "evaluations").update(self._tally.per_solve)
        return loss

    def metric(self, part: str, name: str) -> Metric:
        """The metric of that name for "train", "val" or "test"."""
        return cast(Metric, self.metrics[f"{part}/{name}"])
