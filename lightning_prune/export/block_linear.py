"""Block linear: a linear layer whose matrix has blocks on its diagonal only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BlockLinear(nn.Module):
    r"""Inputs and outputs are cut into blocks; a block of outputs reads its block of inputs.

    What a convolution with groups is to a convolution; there is no bias.

    Arguments:
        weight: (outputs, inputs / blocks), the blocks one below the other. It is taken as it is.
        blocks: Their number.

    Raises:
        ValueError: The outputs have no such number of blocks of one size.
    """

    def __init__(self, weight: nn.Parameter, blocks: int) -> None:
        super().__init__()
        if weight.dim() != 2 or blocks < 1 or weight.shape[0] % blocks:
            raise ValueError(
                f"A weight of {tuple(weight.shape)} has no {blocks} blocks of one size."
            )
        self.blocks = blocks
        self.out_features, self.in_features = weight.shape[0], weight.shape[1] * blocks
        self.weight = weight

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        parts = input.unflatten(-1, (self.blocks, -1))
        weight = self.weight.unflatten(0, (self.blocks, -1))
        return torch.einsum("...ki,kji->...kj", parts, weight).flatten(-2)

    def extra_repr(self) -> str:
        """Of the module's representation."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"blocks={self.blocks}"
        )
