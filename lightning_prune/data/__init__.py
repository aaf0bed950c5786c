"""Data modules whose loaders can be resumed."""

from lightning_prune.data.augmentation import CropFlip
from lightning_prune.data.base import ImageData
from lightning_prune.data.cifar import CIFAR10, CIFAR100
from lightning_prune.data.columns import Columns
from lightning_prune.data.digits import Digits
from lightning_prune.data.image_folder import ImageFolder
from lightning_prune.data.images import TensorImages
from lightning_prune.data.loader import EpochSampler, ResumableLoader
from lightning_prune.data.mnist import MNIST, FashionMNIST
from lightning_prune.data.module import ResumableData
from lightning_prune.data.split import Split
from lightning_prune.data.synthetic import Synthetic
from lightning_prune.data.table import Table
from lightning_prune.data.universal_dependencies import UniversalDependencies

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "Columns",
    "CropFlip",
    "Digits",
    "EpochSampler",
    "FashionMNIST",
    "ImageData",
    "ImageFolder",
    "ResumableData",
    "ResumableLoader",
    "Split",
    "Synthetic",
    "Table",
    "TensorImages",
    "UniversalDependencies",
]
