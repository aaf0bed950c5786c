"""Residual networks of basic blocks for small images."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shortcut = Literal["A", "B"]


class Subsample(nn.Module):
    """Shortcut A: every `stride`-th pixel, and zeros for the channels that are new; no parameters.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out, at least `inputs`; an odd surplus puts one more behind than
            before.
        stride: Step in height and width.
    """

    before: Tensor
    after: Tensor

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        surplus = outputs - inputs
        # tensors, so that pruning sees which channels they are
        for name, new in (("before", surplus // 2), ("after", surplus - surplus // 2)):
            self.register_buffer(name, torch.zeros(1, new, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, ceil(H / stride), ceil(W / stride))."""
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        before, after = (
            new.to(x.dtype).expand(x.shape[0], -1, *x.shape[2:])
            for new in (self.before, self.after)
        )
        return torch.cat([before, x, after], 1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut around them.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Stride of the first convolution and of the shortcut.
        shortcut: "A" or "B", used where the shape changes; elsewhere the shortcut is the identity.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module
        if stride == 1 and inputs == outputs:
            self.shortcut = nn.Identity()
        elif shortcut == "A":
            self.shortcut = Subsample(inputs, outputs, stride)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    r"""CIFAR ResNet: a 3x3 stem, one stage of basic blocks per width, mean pooling, a linear layer.

    With three widths the depth is :math:`6n + 2` for :math:`n` blocks per stage. At 10 classes and
    RGB: ResNet-20 has 269,722 parameters and ResNet-56 853,018 with shortcut A, ResNet-20 has
    272,474 with B. Every stage but the first halves height and width; images of any size work.

    Not to be confused with the ImageNet ResNets (`torchvision.models`), which have a 7x7 stem, four
    stages and, from 50 layers on, bottleneck blocks.

    References:
        | Deep Residual Learning for Image Recognition (He et al., 2015)
        | https://arxiv.org/abs/1512.03385

    Args:
        depth: Layers with weights on the longest path, shortcuts not counted: 8, 14, 20, ..., 56.
        widths: Channels of the stages, first to last.
        classes: Number of logits.
        channels: Channels of the images.
        shortcut: Where the shape changes, "A" is the identity (every second pixel, zeros for new
            channels) and "B" a 1x1 convolution with batch norm.
        stem_stride: Stride of the stem; 2 makes everything behind it four times cheaper.

    Raises:
        ValueError: If the depth does not fit the number of stages, the shortcut is neither "A" nor
            "B", a size is smaller than 1, or widths shrink under shortcut A.
    """

    def __init__(
        self,
        depth: int = 20,
        widths: Sequence[int] = (16, 32, 64),
        classes: int = 10,
        channels: int = 3,
        shortcut: Shortcut = "A",
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        widths = tuple(widths)
        check_arguments(depth, widths, shortcut, min(*widths, classes, channels, stem_stride, 1))
        blocks = (depth - 2) // (2 * len(widths))
        self.conv = nn.Conv2d(channels, widths[0], 3, stem_stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        stages, inputs = [], widths[0]
        for index, width in enumerate(widths):
            stage = []
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(BasicBlock(inputs, width, stride, shortcut))
                inputs = width
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of images, (batch, channels, height, width)."""
        x = self.stages(F.relu(self.norm(self.conv(images))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def check_arguments(depth: int, widths: tuple[int, ...], shortcut: str, smallest: int) -> None:
    """Refuse, in one sentence, what is no ResNet."""
    step = 2 * len(widths)
    if smallest < 1 or not widths:
        raise ValueError("ResNet needs widths, classes, channels and stem_stride of at least 1.")
    if depth < step + 2 or (depth - 2) % step:
        raise ValueError(
            f"A ResNet of {len(widths)} stages has depth {step}n + 2 "
            f"({step + 2}, {2 * step + 2}, {3 * step + 2}, ...), got depth={depth}."
        )
    if shortcut not in ("A", "B"):
        raise ValueError(f'ResNet knows the shortcuts "A" and "B", got {shortcut!r}.')
    if shortcut == "A" and any(after < before for before, after in pairwise(widths)):
        raise ValueError(
            f'Shortcut "A" adds channels but removes none; use shortcut="B" for widths {widths}.'
        )
