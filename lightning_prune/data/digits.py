"""The handwritten digits that scikit-learn brings along."""

from typing import Any

import torch
from torch import Tensor

from lightning_prune.data.base import ImageData
from lightning_prune.data.split import stratified_split


class Digits(ImageData):
    r"""1,797 grey images of handwritten digits, 8 x 8 pixels, that need no download.

    They come without a test set, so a fixed fifth of each class is one (359 images), the same
    whatever `seed`.

    References:
        | Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998)
        | https://doi.org/10.24432/C50P49

    Args:
        options: The arguments of `ImageData`: batch_size, workers, seed, validation, augment,
            drop_last.
    """

    name = "Digits"
    classes = 10
    shape = (1, 8, 8)
    peak = 16

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Read the training or the test part: raw values from 0 to 16."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).to(torch.uint8)[:, None]
        labels = torch.from_numpy(digits.target)
        training, test = stratified_split(labels, 0.2, seed=0)
        rows = training if train else test
        return images[rows], labels[rows]
