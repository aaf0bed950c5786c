"""LeNets: small networks for small grey images."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class LeNet300(nn.Module):
    r"""LeNet-300-100: a fully connected network with two hidden layers.

    266,610 parameters on MNIST (784 inputs, 10 classes). Images are flattened inside, so the
    network takes the same batches as a convolutional one.

    References:
        | Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998)
        | https://doi.org/10.1109/5.726791

    Args:
        inputs: Numbers in one flattened sample (channels x height x width).
        classes: Number of logits.
        hidden: Units of the hidden layers, first to last; any number of layers.

    Raises:
        ValueError: If a size is smaller than 1, or a batch has another number of inputs.
    """

    def __init__(
        self, inputs: int = 784, classes: int = 10, hidden: Sequence[int] = (300, 100)
    ) -> None:
        super().__init__()
        sizes = [inputs, *hidden, classes]
        if min(sizes) < 1:
            raise ValueError(f"LeNet300 needs sizes of at least 1, got {sizes}.")
        self.inputs = inputs
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes[:-1]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-2], classes))

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of (batch, ...) with `inputs` numbers each."""
        flat = images.flatten(1)
        if flat.shape[1] != self.inputs:
            raise ValueError(
                f"LeNet300 was built for {self.inputs} inputs and got samples of "
                f"{tuple(images.shape[1:])}, that is {flat.shape[1]}; pass inputs={flat.shape[1]}."
            )
        return self.layers(flat)


class LeNet5(nn.Module):
    r"""LeNet-5 in Caffe's form: two 5x5 convolutions with max pooling, two linear layers.

    431,080 parameters on MNIST. Not the network of 1998, which had 6 and 16 filters, trained
    pooling and a layer more; the literature on pruning means this one.

    References:
        | Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998)
        | https://doi.org/10.1109/5.726791
        | Learning both Weights and Connections for Efficient Neural Networks (Han et al., 2015)
        | https://arxiv.org/abs/1506.02626

    Args:
        size: Height and width of the images, at least 16 pixels.
        classes: Number of logits.
        channels: Of the images.
        filters: Of the two convolutions.
        hidden: Units of the first linear layer.

    Raises:
        ValueError: If a size is too small, or images have another size.
    """

    def __init__(
        self,
        size: int = 28,
        classes: int = 10,
        channels: int = 1,
        filters: Sequence[int] = (20, 50),
        hidden: int = 500,
    ) -> None:
        super().__init__()
        first, second = filters
        side = ((size - 4) // 2 - 4) // 2
        if min(first, second, hidden, classes, channels, side) < 1:
            raise ValueError(
                "LeNet5 needs images of at least 16 pixels and sizes of at least 1, got "
                f"size={size}, filters={tuple(filters)}, hidden={hidden}, classes={classes}, "
                f"channels={channels}."
            )
        self.size = size
        self.conv1, self.conv2 = nn.Conv2d(channels, first, 5), nn.Conv2d(first, second, 5)
        self.fc1, self.fc2 = nn.Linear(second * side * side, hidden), nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of images, (batch, channels, size, size)."""
        if images.shape[-2:] != (self.size, self.size):
            raise ValueError(
                f"LeNet5 was built for images of {self.size} x {self.size} pixels and got "
                f"{images.shape[-2]} x {images.shape[-1]}; pass size={images.shape[-1]}."
            )
        x = F.max_pool2d(self.conv1(images), 2)
        x = F.max_pool2d(self.conv2(x), 2).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))
