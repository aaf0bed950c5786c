"""Networks to prune: small, well known, with exact parameter counts."""

from lightning_prune.models.lenet import LeNet5, LeNet300
from lightning_prune.models.mobilenet import MobileNetV2
from lightning_prune.models.resnet import ResNet
from lightning_prune.models.text import TextEncoder
from lightning_prune.models.vgg import VGG
from lightning_prune.models.vit import ViT
from lightning_prune.models.wide_resnet import WideResNet

__all__ = [
    "VGG",
    "LeNet5",
    "LeNet300",
    "MobileNetV2",
    "ResNet",
    "TextEncoder",
    "ViT",
    "WideResNet",
]
