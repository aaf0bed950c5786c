"""Encoder blocks of transformers, with projections that are plain linear layers."""

import torch.nn.functional as F
from torch import Tensor, nn


class EncoderBlock(nn.Module):
    r"""Self-attention and a two-layer network, each behind a layer norm and beside a shortcut.

    Queries, keys and values have a linear layer each, so that they are layers to prune.
    :math:`4w(w + 1) + 2wh + w + h + 4w` parameters for width w and h hidden units.

    References:
        | Attention Is All You Need (Vaswani et al., 2017)
        | https://arxiv.org/abs/1706.03762

    Args:
        width: Numbers that describe one token.
        heads: Of the attention; a divisor of `width`.
        hidden: Units of the two-layer network.

    Raises:
        ValueError: If a size is smaller than 1, or `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        if min(width, heads, hidden) < 1 or width % heads:
            raise ValueError(
                f"An encoder block needs sizes of at least 1 and a width that its heads divide, "
                f"got width={width}, heads={heads}, hidden={hidden}."
            )
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (batch, length, width) to the same.

        Args:
            x: Tokens.
            mask: Broadcasts to (batch, heads, length, length), true where a token may be looked at.
        """
        y = self.norm1(x)
        query, key, value = (
            layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
