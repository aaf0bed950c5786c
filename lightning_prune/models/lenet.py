"""Fully connected networks for small grey images."""

from collections.abc import Sequence
from itertools import pairwise

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
