"""Networks to prune: small, well known, with exact parameter counts."""

from lightning_prune.models.concat_conv import ConvField
from lightning_prune.models.concat_squash import ConcatSquashField
from lightning_prune.models.fields import Field, MLPField
from lightning_prune.models.flow import CNF
from lightning_prune.models.image_flow import ImageFlow
from lightning_prune.models.lenet import LeNet5, LeNet300
from lightning_prune.models.mobilenet import MobileNetV2
from lightning_prune.models.neural_ode import NeuralODE, ODEClassifier
from lightning_prune.models.ode_net import ODENet
from lightning_prune.models.resnet import ResNet
from lightning_prune.models.tabular_flow import TabularFlow
from lightning_prune.models.text import TextEncoder
from lightning_prune.models.vgg import VGG
from lightning_prune.models.vit import ViT
from lightning_prune.models.wide_resnet import WideResNet

__all__ = [
    "CNF",
    "VGG",
    "ConcatSquashField",
    "ConvField",
    "Field",
    "ImageFlow",
    "LeNet5",
    "LeNet300",
    "MLPField",
    "MobileNetV2",
    "NeuralODE",
    "ODEClassifier",
    "ODENet",
    "ResNet",
    "TabularFlow",
    "TextEncoder",
    "ViT",
    "WideResNet",
]
