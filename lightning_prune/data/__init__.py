"""Data modules whose loaders can be resumed."""

from lightning_prune.data.augmentation import CropFlip
from lightning_prune.data.base import ImageData
from lightning_prune.data.bsds300 import BSDS300
from lightning_prune.data.cifar import CIFAR10, CIFAR100
from lightning_prune.data.cifar_shifted import CIFAR10C, CIFAR101
from lightning_prune.data.columns import Columns
from lightning_prune.data.corruptions import corrupt, corruption_names
from lightning_prune.data.dequantised import Dequantised, dequantise
from lightning_prune.data.digits import Digits
from lightning_prune.data.gas import Gas
from lightning_prune.data.hepmass import Hepmass
from lightning_prune.data.image_density import ImageDensity
from lightning_prune.data.image_folder import ImageFolder
from lightning_prune.data.images import TensorImages
from lightning_prune.data.loader import EpochSampler, ResumableLoader
from lightning_prune.data.miniboone import Miniboone
from lightning_prune.data.mixed import MIX1, MIX2, MixedCorruptions
from lightning_prune.data.mixture import Mixture
from lightning_prune.data.mnist import MNIST, FashionMNIST
from lightning_prune.data.module import ResumableData
from lightning_prune.data.planar import Planar
from lightning_prune.data.points import Points
from lightning_prune.data.power import Power
from lightning_prune.data.shifts import Corruptions, Distribution, Shift, nominal
from lightning_prune.data.split import Split
from lightning_prune.data.synthetic import Synthetic
from lightning_prune.data.table import Table
from lightning_prune.data.universal_dependencies import UniversalDependencies

__all__ = [
    "BSDS300",
    "CIFAR10",
    "CIFAR10C",
    "CIFAR100",
    "CIFAR101",
    "MIX1",
    "MIX2",
    "MNIST",
    "Columns",
    "Corruptions",
    "CropFlip",
    "Dequantised",
    "Digits",
    "Distribution",
    "EpochSampler",
    "FashionMNIST",
    "Gas",
    "Hepmass",
    "ImageData",
    "ImageDensity",
    "ImageFolder",
    "Miniboone",
    "MixedCorruptions",
    "Mixture",
    "Planar",
    "Points",
    "Power",
    "ResumableData",
    "ResumableLoader",
    "Shift",
    "Split",
    "Synthetic",
    "Table",
    "TensorImages",
    "UniversalDependencies",
    "corrupt",
    "corruption_names",
    "dequantise",
    "nominal",
]
