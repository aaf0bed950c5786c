"""Attention: multi-head attention whose heads may be fewer than its width has room for."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.network.successors import HOOKS

PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias")


class SlimAttention(nn.Module):
    r"""`nn.MultiheadAttention` for any number of heads of any size.

    Torch's own has :math:`E / H` numbers a head for width E and H heads, so that a head cannot
    leave it. Here the heads together may be narrower than the width. Parameters have the names
    that they have there, arguments and outputs are the same, and a mask for every head is of the
    heads that are there. There are no `bias_k`, `bias_v` and `add_zero_attn`, and no nested
    tensors: an `nn.TransformerEncoder` around it needs `use_nested_tensor = False`.

    References:
        | Are Sixteen Heads Really Better than One? (Michel et al., 2019)
        | https://arxiv.org/abs/1905.10650

    Arguments:
        embed_dim: Width of queries and outputs.
        num_heads: Heads.
        head_dim: Numbers per head of queries, keys and values.
        dropout: Of the attention weights, in training.
        bias: Of all projections.
        kdim: Width of keys; None: `embed_dim`.
        vdim: Width of values; None: `embed_dim`.
        batch_first: (batch, length, width), not (length, batch, width).

    Raises:
        ValueError: A size is smaller than 1.
    """

    # torch's encoder layer has a kernel for heads that fill the width, and asks here whether to
    # take it; it calls this module instead
    _qkv_same_embed_dim = False
    has_heads = True
    bias_k = None
    bias_v = None
    add_zero_attn = False
    in_proj_weight: nn.Parameter | None
    in_proj_bias: nn.Parameter | None
    q_proj_weight: nn.Parameter | None
    k_proj_weight: nn.Parameter | None
    v_proj_weight: nn.Parameter | None

    def __init__(  # noqa: PLR0913  torch's own arguments
        self,
        embed_dim: int,
        num_heads: int,
        head_dim: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, head_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.dropout, self.batch_first = dropout, batch_first
        if min(embed_dim, num_heads, head_dim, self.kdim, self.vdim) < 1:
            raise ValueError(
                f"Attention needs sizes of at least 1, got embed_dim={embed_dim}, "
                f"num_heads={num_heads}, head_dim={head_dim}, kdim={self.kdim}, vdim={self.vdim}."
            )
        inner = num_heads * head_dim
        packed = self.kdim == self.vdim == embed_dim
        widths = {
            "q_proj_weight": embed_dim,
            "k_proj_weight": self.kdim,
            "v_proj_weight": self.vdim,
        }
        for name, width in widths.items():
            weight = None if packed else nn.Parameter(torch.empty(inner, width))
            self.register_parameter(name, weight)
        weight = nn.Parameter(torch.empty(3 * inner, embed_dim)) if packed else None
        self.register_parameter("in_proj_weight", weight)
        shift = nn.Parameter(torch.zeros(3 * inner)) if bias else None
        self.register_parameter("in_proj_bias", shift)
        self.out_proj = nn.Linear(inner, embed_dim, bias=bias)
        for name, own in self.named_parameters(recurse=False):
            if name != "in_proj_bias":
                nn.init.xavier_uniform_(own)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    @classmethod
    def from_attention(
        cls, attention: nn.MultiheadAttention | SlimAttention, heads: int
    ) -> SlimAttention:
        """The attention for parameters from which heads were cut, on these very parameters.

        Arguments:
            attention: Its projections' rows, their biases and the columns of `out_proj` are those
                of the heads that are left; its own numbers may still say otherwise.
            heads: That are left.

        Raises:
            ValueError: It adds keys and values of its own, or its rows are no such number of heads.
        """
        if not has_slim_form(attention):
            raise ValueError("Attention with bias_k, bias_v or add_zero_attn has no slim form.")
        packed: Tensor | None = attention.in_proj_weight
        weights: Any = [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]
        if packed is not None:
            weights = packed.chunk(3)
        rows, widths = weights[0].shape[0], [weight.shape[1] for weight in weights]
        if heads < 1 or rows % heads:
            raise ValueError(f"{rows} rows of queries are no {heads} heads of one size.")
        with torch.device("meta"):
            made = cls(
                widths[0],
                heads,
                rows // heads,
                attention.dropout,
                kdim=widths[1],
                vdim=widths[2],
                batch_first=attention.batch_first,
            )
        for name in PROJECTIONS:
            made.register_parameter(name, getattr(attention, name))
        made.out_proj = attention.out_proj
        made.out_proj.out_features, made.out_proj.in_features = made.out_proj.weight.shape
        for name in ("training", *HOOKS):
            setattr(made, name, getattr(attention, name))
        return made

    def forward(  # noqa: PLR0913  torch's own arguments
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See `nn.MultiheadAttention`.

        Raises:
            ValueError: `is_causal` without a mask.
        """
        if is_causal and attn_mask is None:
            raise ValueError("is_causal says what attn_mask is, and there is none.")
        alone, same = query.dim() == 2, key is query and value is key
        inputs = [query] if same else [query, key, value]
        if alone:
            inputs = [part[None] for part in inputs]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif not self.batch_first:
            inputs = [part.transpose(0, 1) for part in inputs]
        q, k, v = (
            part.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for part in self._projected(*inputs)
        )
        mask = self._mask(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * self.head_dim**-0.5) @ k.mT
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = F.dropout(weights, dropout, self.training)
            seen = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            hint = is_causal and key_padding_mask is None
            seen = F.scaled_dot_product_attention(
                q, k, v, None if hint else mask, dropout, is_causal=hint
            )
        out = self.out_proj(seen.transpose(1, 2).flatten(2))
        if alone:
            return out[0], None if weights is None else weights[0]
        return out if self.batch_first else out.transpose(0, 1), weights

    def _projected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values; one input stands for all three."""
        if self.in_proj_weight is not None and len(inputs) == 1:
            return F.linear(inputs[0], self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        weights: Any = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        parts = inputs * 3 if len(inputs) == 1 else inputs
        return tuple(F.linear(*each) for each in zip(parts, weights, biases, strict=True))

    def _mask(self, own: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
        """What is added to the scores, broadcasting to (batch, heads, queries, keys)."""
        found = None
        if own is not None:
            own = own.unflatten(0, (-1, self.num_heads)) if own.dim() == 3 else own
            found = _added(own, like.dtype)
        if padding is not None:
            added = _added(padding, like.dtype)[:, None, None]
            found = added if found is None else found + added
        return found

    def extra_repr(self) -> str:
        """Of the module's representation."""
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, head_dim={self.head_dim}"


def has_slim_form(attention: nn.MultiheadAttention | SlimAttention) -> bool:
    """Whether it adds no keys and values of its own."""
    added = attention.bias_k is not None or attention.bias_v is not None
    return not (added or attention.add_zero_attn)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers: those that are true forbid."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)
