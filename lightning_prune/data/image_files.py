"""Images read from their files when they are needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_prune.data.augmentation import CropFlip

MODES = {1: "L", 3: "RGB"}  # Pillow's names of grey and of colour, by channels


class ImageFiles(Dataset):
    r"""Images in files, read, resized, augmented and normalised batch by batch.

    Samples are a pure function of epoch and index. The epoch lies in shared memory, so persistent
    workers follow `set_epoch`.

    Args:
        files: (n,) paths.
        labels: (n,) integer class of each image.
        channels: 1 for grey or 3 for colour; images are converted.
        size: Height and width in pixels; images are resized, whatever their proportions.
        mean: (channels,) subtracted from the bytes, by default 0.
        std: (channels,) that the difference is divided by, by default 1.
        augment: What happens to the bytes of a batch, or None.
        seed: Seed of the augmentation.

    Raises:
        ValueError: When an image is read that is damaged or no image.
    """

    def __init__(  # noqa: PLR0913
        self,
        files: Sequence[Path],
        labels: Tensor,
        channels: int,
        size: int,
        *,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        augment: CropFlip | None = None,
        seed: int = 0,
    ) -> None:
        self.files, self.labels = list(files), labels.long()
        self.channels, self.size = channels, size
        mean = torch.zeros(channels) if mean is None else mean
        std = torch.ones(channels) if std is None else std
        self.mean, self.std = (value.float().view(-1, 1, 1) for value in (mean, std))
        self.augment, self.seed = augment, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()  # a deep copy is not shared by itself

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which the augmentation depends on, in this process and in the workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = torch.as_tensor(indices)
        images = self.read(indices)
        if self.augment is not None:
            images = self.augment(images, rows, epoch=int(self._epoch), seed=self.seed)
        return (images.float() - self.mean) / self.std, self.labels[rows]

    def read(self, indices: Sequence[int]) -> Tensor:
        """Read images: (len(indices), channels, size, size) bytes."""
        images = [read_image(self.files[index], self.channels, self.size) for index in indices]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    @staticmethod
    def collate(batch: Any) -> Any:
        """Pass on what `__getitems__` collated."""
        return batch


def read_image(path: Path, channels: int, size: int) -> np.ndarray:
    """Read one image as (size, size, channels) bytes.

    Raises:
        ValueError: If it is damaged or no image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = image.convert(MODES[channels])
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow says of damaged files
        raise ValueError(
            f"{path} cannot be read as an image; replace it or remove it from the folder."
        ) from error
    if pixels.size != (size, size):
        pixels = pixels.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(pixels, dtype=np.uint8).reshape(size, size, channels)
