"""Image classification."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

from lightning_prune.solve import TIGHT
from lightning_prune.tasks.base import Task


class Classification(Task):
    r"""Classification by cross entropy, with loss and accuracy of training, validation and test.

    Logged once per epoch: `train/loss`, `train/accuracy`, and the same for `val` and `test`.
    Accuracy is the share of samples whose largest logit is that of their label, over all processes.
    Of a neural ODE there also is `test/accuracy_tight`, by an adaptive solver with tolerances of
    1e-5: where it differs, the network lives off the steps of the solver it was trained with.

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
        if classes < 2:
            raise ValueError(f"Classification needs at least 2 classes, got {classes}.")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}.")
        accuracy = partial(MulticlassAccuracy, classes, average="micro", validate_args=False)
        super().__init__(net, optimizer, scheduler, interval, {"accuracy": accuracy})
        if hasattr(net, "solved_by"):
            self.metrics["test/accuracy_tight"] = accuracy()
        self.classes, self.label_smoothing = classes, label_smoothing

    def loss(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        """Compute the cross entropy of a batch of (images, labels)."""
        images, labels = batch
        logits = self.net(images)
        if logits.shape != (len(labels), self.classes):
            raise ValueError(
                f"The task has {self.classes} classes and got logits of {tuple(logits.shape)} for "
                f"a batch of {len(labels)}; build the network with classes={self.classes}."
            )
        smoothing = self.label_smoothing if part == "train" else 0.0
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        self.metric(part, "loss").update(loss.detach(), len(labels))
        self.metric(part, "accuracy").update(logits.detach(), labels)
        if part == "test" and "test/accuracy_tight" in self.metrics:
            with self.net.solved_by(TIGHT):  # type: ignore[operator]
                self.metric(part, "accuracy_tight").update(self.net(images).detach(), labels)
        return loss
