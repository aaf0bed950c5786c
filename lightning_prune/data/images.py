"""Images and labels held as tensors, fetched a batch at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_prune.data.augmentation import CropFlip


class TensorImages(Dataset):
    r"""Images in memory as they were read; augmented and normalised batch by batch.

    Indexing gives (image, label) of one sample; `__getitems__` gives a whole batch at once, already
    collated, which `collate` passes through (a `ResumableLoader` takes it from here). Samples are a
    pure function of epoch and index. The epoch lies in shared memory, so persistent workers follow
    `set_epoch`.

    Args:
        images: (n, channels, height, width), uint8 or float; not copied.
        labels: (n,) integer class of each image.
        rows: (m,) which images belong to this data set, by default all.
        mean: (channels,) subtracted from the raw values, by default 0.
        std: (channels,) that the difference is divided by, by default 1.
        augment: What happens to the raw images of a batch, or None.
        seed: Seed of the augmentation.

    Raises:
        ValueError: If images and labels do not fit each other, or a standard deviation is not
            positive.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        rows: Tensor | None = None,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        augment: CropFlip | None = None,
        seed: int = 0,
    ) -> None:
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"TensorImages needs images of (n, channels, height, width) and n labels, "
                f"got {tuple(images.shape)} and {tuple(labels.shape)}."
            )
        channels = images.shape[1]
        mean = torch.zeros(channels) if mean is None else mean
        std = torch.ones(channels) if std is None else std
        if not bool((std > 0).all()):
            raise ValueError(
                "TensorImages needs positive standard deviations; the images may be constant."
            )
        self.images, self.labels = images, labels.long()
        self.rows = torch.arange(len(labels)) if rows is None else rows
        self.augment, self.seed = augment, seed
        # (x - mean) / std as one multiplication and one addition
        self.scale = (1 / std.double()).float().view(-1, 1, 1)
        self.shift = (-mean.double() / std.double()).float().view(-1, 1, 1)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()  # a deep copy is not shared by itself

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which the augmentation depends on, in this process and in the workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = self.rows[torch.as_tensor(indices)]
        images = self.images[rows]
        if self.augment is not None:
            images = self.augment(images, rows, epoch=int(self._epoch), seed=self.seed)
        return images.float().mul_(self.scale).add_(self.shift), self.labels[rows]

    @staticmethod
    def collate(batch: Any) -> Any:
        """Pass on what `__getitems__` collated."""
        return batch


def channel_statistics(images: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Mean and standard deviation of the raw values of each channel.

    For uint8 images both come from a histogram, so they do not depend on threads or on the order of
    images.

    Args:
        images: (n, channels, height, width), uint8 or float.
        rows: (m,) which images count, by default all.

    Returns:
        Mean and standard deviation (of the population), each (channels,) float64. A channel with
        one value only has the standard deviation 1.
    """
    if rows is not None:
        images = images[rows]
    if images.dtype == torch.uint8:
        values = torch.arange(256, dtype=torch.float64)
        counts = [torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]
        share = torch.stack(counts).double() / counts[0].sum()
        mean = share @ values
        variance = (share * (values - mean[:, None]).square()).sum(1)
    else:
        flat = images.transpose(0, 1).flatten(1).double()
        mean, variance = flat.mean(1), flat.var(1, correction=0)
    std = variance.sqrt()
    return mean, torch.where(std > 0, std, 1.0)
