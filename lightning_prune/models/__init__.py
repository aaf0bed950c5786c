"""Networks to prune: small, well known, with exact parameter counts."""

from lightning_prune.models.lenet import LeNet300
from lightning_prune.models.resnet import ResNet

__all__ = ["LeNet300", "ResNet"]
