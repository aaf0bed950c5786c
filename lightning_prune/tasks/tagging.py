"""A class for every word of a sentence."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

from lightning_prune.tasks.base import Task


class Tagging(Task):
    r"""Classification of every word by cross entropy, with loss and accuracy per word.

    Logged once per epoch: `train/loss`, `train/accuracy`, and the same for `val` and `test`. What
    stands behind a sentence's end counts in neither.

    Args:
        net: Maps (batch, length) numbers of words to logits of (batch, length, classes).
        optimizer: Makes the optimizer from the parameters, e.g. `functools.partial(torch.optim.SGD,
            lr=0.1)`.
        scheduler: Makes the learning-rate scheduler from the optimizer, or None.
        classes: Number of classes.
        interval: Whether the scheduler steps once an "epoch" or once a "step" of the optimizer.
        ignored: The label of what does not count.

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
        classes: int = 17,
        interval: Literal["epoch", "step"] = "epoch",
        ignored: int = -100,
    ) -> None:
        if classes < 2:
            raise ValueError(f"Tagging needs at least 2 classes, got {classes}.")
        accuracy = partial(MulticlassAccuracy, classes, average="micro", ignore_index=ignored)
        super().__init__(net, optimizer, scheduler, interval, {"accuracy": accuracy})
        self.classes, self.ignored = classes, ignored

    def loss(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        """Compute the cross entropy per word of a batch of (ids, tags)."""
        ids, tags = batch
        logits = self.net(ids)
        if logits.shape != (*tags.shape, self.classes):
            raise ValueError(
                f"The task needs logits of {(*tags.shape, self.classes)} for tags of "
                f"{tuple(tags.shape)}, got {tuple(logits.shape)}; build a network for tagging "
                f"with classes={self.classes}."
            )
        logits, labels = logits.flatten(0, 1), tags.flatten()
        loss = F.cross_entropy(logits, labels, ignore_index=self.ignored)
        self.metric(part, "loss").update(loss.detach(), (labels != self.ignored).sum())
        self.metric(part, "accuracy").update(logits.detach(), labels)
        return loss
