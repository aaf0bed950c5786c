"""MobileNetV2 for small images."""

from torch import Tensor, nn

# expansion, channels, blocks, stride of the first of them: table 2 of the paper
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
DIVISOR = 8


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise 3x3 one, and a 1x1 one that narrows.

    The shortcut joins the narrow ends, where they have one shape.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the depthwise convolution.
        expansion: How many times as wide it is in between; 1 leaves out the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            *([] if expansion == 1 else conv_norm(inputs, hidden, 1)),
            *conv_norm(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.layers(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """MobileNetV2: seven stages of inverted residuals between two convolutions.

    3,504,872 parameters at width 1 and 1,000 classes, 2,236,682 at 10. The paper's strides
    divide images by 32; for images of 32 pixels `halvings=3` leaves out the first two of the five.

    References:
        | MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018)
        | https://arxiv.org/abs/1801.04381

    Args:
        width: Multiplies the channels, which are rounded to multiples of 8 that lose at most a
            tenth.
        classes: Number of logits.
        channels: Of the images.
        halvings: How many times height and width are halved, from 0 to 5; the last ones.
        dropout: Share dropped before the last layer in training.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        width: float = 1.0,
        classes: int = 10,
        channels: int = 3,
        halvings: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not width > 0 or min(classes, channels) < 1 or not 0 <= halvings <= 5:
            raise ValueError(
                "MobileNetV2 needs a positive width, classes and channels of at least 1 and 0 to 5 "
                f"halvings, got width={width}, classes={classes}, channels={channels}, "
                f"halvings={halvings}."
            )
        skipped = 5 - halvings  # of the five strides of 2, the stem's first
        inputs = rounded(32 * width)
        layers = conv_norm(channels, inputs, 3, 1 if skipped else 2)
        seen = 1
        for expansion, base, blocks, first in STAGES:
            seen += first == 2
            stride = 1 if seen <= skipped else first
            for block in range(blocks):
                outputs = rounded(base * width)
                layers.append(
                    InvertedResidual(inputs, outputs, stride if not block else 1, expansion)
                )
                inputs = outputs
        last = rounded(1280 * max(1.0, width))
        self.features = nn.Sequential(*layers, *conv_norm(inputs, last, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of images, (batch, channels, height, width)."""
        return self.fc(self.dropout(self.pool(self.features(images)).flatten(1)))


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps height and width at stride 1, its norm, and a ReLU6."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    ]


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8; one more where a tenth would be lost."""
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * channels else nearest
