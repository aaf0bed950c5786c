"""VGG networks with batch norm for small images."""

from collections.abc import Sequence

from torch import Tensor, nn

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    r"""VGG with batch norm: stages of 3x3 convolutions, each halved, then one linear layer.

    VGG-16 has 14,728,266 parameters at 10 classes and RGB. Convolutions have biases. Images of
    any size work; one pixel stays one pixel.

    References:
        | Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and
          Zisserman, 2014)
        | https://arxiv.org/abs/1409.1556

    Args:
        widths: Filters of every convolution, by stage.
        classes: Number of logits.
        channels: Of the images.
        width_factor: Multiplies all widths, rounded to whole filters.

    Raises:
        ValueError: If a size is smaller than 1.
    """

    def __init__(
        self,
        widths: Sequence[Sequence[int]] = VGG16,
        classes: int = 10,
        channels: int = 3,
        width_factor: float = 1.0,
    ) -> None:
        super().__init__()
        scaled = [[round(width * width_factor) for width in stage] for stage in widths]
        sizes = [channels, *(width for stage in scaled for width in stage), classes]
        if not all(scaled) or min(sizes) < 1:
            raise ValueError(f"VGG needs stages of sizes of at least 1, got {sizes}.")
        layers: list[nn.Module] = []
        before = channels
        for stage in scaled:
            for width in stage:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                before = width
            # rounded up, so that sizes that are no power of 2 work, too
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of (batch, channels, H, W)."""
        return self.fc(self.pool(self.features(images)).flatten(1))
