"""Transformer encoders of texts."""

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_prune.models.transformer import EncoderBlock


class TextEncoder(nn.Module):
    """A transformer encoder over token ids, with learned positions; id 0 is padding.

    Padding is not looked at by other tokens. Norms are in front of what they feed.

    Args:
        vocabulary: Number of ids, padding included.
        classes: Number of logits.
        length: Longest text in tokens.
        width: Numbers that describe one token.
        depth: Encoder blocks.
        heads: Of every attention.
        hidden: Units of the network in every block.
        outputs: "tokens" for logits of every token, "sequence" for those of their mean.

    Raises:
        ValueError: If a size is smaller than 1, `outputs` is unknown, or a text is too long.
    """

    def __init__(  # noqa: PLR0913
        self,
        vocabulary: int,
        classes: int,
        length: int = 128,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        hidden: int = 128,
        outputs: Literal["tokens", "sequence"] = "tokens",
    ) -> None:
        super().__init__()
        if min(vocabulary, classes, length, depth) < 1:
            raise ValueError("TextEncoder needs a vocabulary, classes, length and depth of 1 up.")
        if outputs not in ("tokens", "sequence"):
            raise ValueError(f'TextEncoder outputs "tokens" or "sequence", not {outputs!r}.')
        self.length, self.outputs = length, outputs
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=0)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Map (batch, length) int64 to (batch, length, classes), or to (batch, classes)."""
        if ids.shape[1] > self.length:
            raise ValueError(
                f"TextEncoder was built for {self.length} tokens and got {ids.shape[1]}; pass "
                f"length={ids.shape[1]}."
            )
        real = ids != 0
        # every token may look at itself, for a text without any would have nothing to look at
        mask = real[:, None, None] | torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        if self.outputs == "sequence":
            weight = real[..., None].to(x.dtype)
            x = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        return self.fc(x)
