"""Image classification."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, cast

import pytorch_lightning as pl
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy


class Classification(pl.LightningModule):
    r"""Classification by cross entropy, with loss and accuracy of training, validation and test.

    Logged once per epoch: `train/loss`, `train/accuracy`, and the same for `val` and `test`.
    Accuracy is the share of samples whose largest logit is that of their label, over all processes.

    Args:
        net: Maps a batch of images to logits of (batch, classes).
        optimizer: Makes the optimizer from the parameters, e.g. `functools.partial(torch.optim.SGD,
            lr=0.1)`.
        scheduler: Makes the learning-rate scheduler from the optimizer, or None.
        classes: Number of classes.
        interval: Whether the scheduler steps once an "epoch" or once a "step" of the optimizer.
        label_smoothing: Share of the target spread over all classes, in [0, 1]; in the training
            loss only.

    Attributes:
        main_metric: The metric that compares models; logged as `val/accuracy` and `test/accuracy`.
        direction: "max", because larger is better.

    Raises:
        ValueError: If an argument is out of its range, or the logits of a batch have another shape.
    """

    main_metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["max", "min"]] = "max"

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], Any] | None = None,
        classes: int = 10,
        interval: Literal["epoch", "step"] = "epoch",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"Classification needs at least 2 classes, got {classes}.")
        if interval not in ("epoch", "step"):
            raise ValueError(f'interval is "epoch" or "step", got {interval!r}.')
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}.")
        self.net = net
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.classes, self.interval, self.label_smoothing = classes, interval, label_smoothing
        # imputing NaN for NaN lets a loss that blew up be seen, and is silent
        self.metrics = nn.ModuleDict()
        for part in ("train", "val", "test"):
            self.metrics[f"{part}/loss"] = MeanMetric(nan_strategy=float("nan"))
            self.metrics[f"{part}/accuracy"] = MulticlassAccuracy(
                classes, average="micro", validate_args=False
            )

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of a batch of images."""
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the training loss of a batch of (images, labels)."""
        return self._loss(batch, "train", self.label_smoothing)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the validation loss of a batch of (images, labels)."""
        return self._loss(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the test loss of a batch of (images, labels)."""
        return self._loss(batch, "test")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics."""
        self._log("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log("test")

    def configure_optimizers(self) -> Any:
        """Make the optimizer and, if there is one, the scheduler."""
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.make_scheduler(optimizer), "interval": self.interval}
        if isinstance(scheduler["scheduler"], ReduceLROnPlateau):
            scheduler["monitor"] = "val/loss"
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _loss(
        self, batch: tuple[Tensor, Tensor], part: str, label_smoothing: float = 0.0
    ) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        if logits.shape != (len(labels), self.classes):
            raise ValueError(
                f"The task has {self.classes} classes and got logits of {tuple(logits.shape)} for "
                f"a batch of {len(labels)}; build the network with classes={self.classes}."
            )
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        self._metric(part, "loss").update(loss.detach(), len(labels))
        self._metric(part, "accuracy").update(logits.detach(), labels)
        return loss

    def _log(self, part: str) -> None:
        # once an epoch, because `log` costs a small network more than its optimizer's step
        for name in ("loss", "accuracy"):
            metric = self._metric(part, name)
            self.log(f"{part}/{name}", metric, prog_bar=name == self.main_metric)

    def _metric(self, part: str, name: str) -> Metric:
        return cast(Metric, self.metrics[f"{part}/{name}"])
