"""Vision transformers."""

import torch
from torch import Tensor, nn

from lightning_prune.models.transformer import EncoderBlock


class ViT(nn.Module):
    r"""Vision transformer: patches as tokens, encoder blocks, and a linear layer on one token.

    Queries, keys and values are linear layers of their own, so that each can be pruned. With
    patch 16, width 768, depth 12, 12 heads, 3,072 hidden units, 224 pixels and 1,000 classes it
    has the 86,567,656 parameters of ViT-B/16.

    References:
        | An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale
          (Dosovitskiy et al., 2020)
        | https://arxiv.org/abs/2010.11929

    Args:
        size: Height and width of the images, in pixels.
        patch: Height and width of a patch, a divisor of `size`.
        classes: Number of logits.
        channels: Of the images.
        width: Numbers that describe one token.
        depth: Encoder blocks.
        heads: Of every attention, a divisor of `width`.
        hidden: Units of the network in every block.

    Raises:
        ValueError: If a size is smaller than 1 or does not divide, or images have another size.
    """

    def __init__(  # noqa: PLR0913
        self,
        size: int = 32,
        patch: int = 4,
        classes: int = 10,
        channels: int = 3,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if min(size, patch, classes, channels, depth) < 1 or size % patch:
            raise ValueError(
                "ViT needs sizes of at least 1 and a patch that divides the image, got "
                f"size={size}, patch={patch}, classes={classes}, channels={channels}, "
                f"depth={depth}."
            )
        self.size = size
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (batch, classes), of images, (batch, channels, size, size)."""
        if images.shape[-2:] != (self.size, self.size):
            raise ValueError(
                f"ViT was built for images of {self.size} x {self.size} pixels and got "
                f"{images.shape[-2]} x {images.shape[-1]}; pass size, or resize the images."
            )
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], 1) + self.positions
        return self.fc(self.norm(self.blocks(tokens))[:, 0])
