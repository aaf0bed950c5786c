"""Data modules whose loaders can be resumed."""

from lightning_prune.data.augmentation import CropFlip
from lightning_prune.data.base import ImageData
from lightning_prune.data.digits import Digits
from lightning_prune.data.images import TensorImages
from lightning_prune.data.loader import EpochSampler, ResumableLoader
from lightning_prune.data.mnist import MNIST, FashionMNIST
from lightning_prune.data.synthetic import Synthetic

__all__ = [
    "MNIST",
    "CropFlip",
    "Digits",
    "EpochSampler",
    "FashionMNIST",
    "ImageData",
    "ResumableLoader",
    "Synthetic",
    "TensorImages",
]
