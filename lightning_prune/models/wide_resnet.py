"""Wide residual networks for small images."""

import torch.nn.functional as F
from torch import Tensor, nn


class WideBlock(nn.Module):
    """Norm, rectifier and 3x3 convolution, twice, beside a shortcut.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the first convolution and of the shortcut.
        dropout: Share of the numbers between the convolutions that is dropped in training.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.relu(self.norm1(x))
        # where the shape changes, the shortcut reads what the first convolution reads
        around = x if self.shortcut is None else self.shortcut(y)
        y = self.conv1(y)
        return self.conv2(self.dropout(F.relu(self.norm2(y)))) + around


class WideResNet(nn.Module):
    r"""Wide residual network: a 3x3 stem and three stages of pre-activation blocks.

    With depth :math:`6n + 4` every stage has :math:`n` blocks, and widths are 16, 32 and 64 times
    `width`. At 10 classes and RGB: WRN-16-8 has 10,961,370 parameters, WRN-28-10 36,479,194,
    WRN-28-2 1,467,610.

    Not to be confused with `torchvision.models.wide_resnet50_2`, an ImageNet bottleneck network.

    References:
        | Wide Residual Networks (Zagoruyko and Komodakis, 2016)
        | https://arxiv.org/abs/1605.07146

    Args:
        depth: Convolutions on the longest path and the shortcuts of the stages: 10, 16, 22, 28.
        width: Multiplies the channels of all stages, rounded to whole channels.
        classes: Number of logits.
        channels: Of the images.
        dropout: Share dropped in every block in training, from 0 up to 1.

    Raises:
        ValueError: If the depth is not 6n + 4, or a size is out of range.
    """

    def __init__(
        self,
        depth: int = 16,
        width: float = 8,
        classes: int = 10,
        channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [round(16 * 2**stage * width) for stage in range(3)]
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"A WideResNet has depth 6n + 4 (10, 16, 22, 28, ...), got {depth}.")
        if min(*widths, classes, channels) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                "WideResNet needs classes, channels and widths of at least 1 and a dropout in "
                f"[0, 1), got classes={classes}, channels={channels}, widths={widths}, "
                f"dropout={dropout}."
            )
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        blocks, inputs = [], 16
        for stage, outputs in enumerate(widths):
            for block in range((depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(WideBlock(inputs, outputs, stride, dropout))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of images, (batch, channels, height, width)."""
        x = F.relu(self.norm(self.blocks(self.conv(images))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
