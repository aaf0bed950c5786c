"""Heads: attentions of which some heads were cut."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lightning_prune.network.groups import Group
from lightning_prune.network.heads import head_attributes
from lightning_prune.network.successors import READERS, replaced
from lightning_prune.thinning.attention import SlimAttention, has_slim_form
from lightning_prune.thinning.cut import Cut


def cut_heads(done: Cut, gone: Mapping[Group, Tensor]) -> None:
    """Let modules whose forward splits channels into heads know how many there are now.

    Arguments:
        done: The cut, which goes on.
        gone: By group, (n_units,) bool.
    """
    left: dict[tuple[nn.Module, str], int] = {}
    for count in head_attributes(done.model, list(gone)):
        lost = count.size * int(gone[count.group].sum())
        if lost:
            place = count.module, count.attribute
            left[place] = left.get(place, getattr(*place)) - lost
    for (module, attribute), value in left.items():
        done.remember(module)
        setattr(module, attribute, value)
    fit_attentions(done)


def fit_attentions(done: Cut) -> None:
    """Let attentions have as many heads as their tensors have.

    Torch's own attention is as wide as what it reads; it gets a successor that need not be.
    """
    made: dict[nn.Module, nn.Module] = {}
    for module in done.model.modules():
        if isinstance(module, nn.MultiheadAttention):
            if not has_slim_form(module):  # its heads stay, and it may have any outputs
                continue
            heads = _heads(module)
            if heads != module.num_heads or _widths(module) != _stated(module):
                made[module] = SlimAttention.from_attention(module, heads)
        elif isinstance(module, SlimAttention) and (heads := _heads(module)) != module.num_heads:
            done.remember(module)
            module.num_heads = heads
    if made:
        _take_places(done, made)


def _take_places(done: Cut, made: Mapping[nn.Module, nn.Module]) -> None:
    """Put modules in the places of others, and let torch's containers call them."""
    parents = list(done.model.modules())
    for parent in parents:
        for kind, switches in READERS.items():
            if isinstance(parent, kind) and not made.keys().isdisjoint(parent.modules()):
                done.remember(parent)
                vars(parent).update(switches)
    for parent in parents:
        if not made.keys().isdisjoint(parent.children()):
            done.remember(parent)
            for name, value in vars(parent).items():
                vars(parent)[name] = replaced(value, made)


def _widths(attention: nn.MultiheadAttention) -> tuple[int, ...]:
    """Of queries, keys, values and outputs, by the tensors."""
    packed = attention.in_proj_weight
    apart = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    read = apart if packed is None else (packed,) * 3
    return *(weight.shape[1] for weight in read), attention.out_proj.weight.shape[0]


def _stated(attention: nn.MultiheadAttention) -> tuple[int, ...]:
    """The same, by the numbers that its forward goes by."""
    return attention.embed_dim, attention.kdim, attention.vdim, attention.embed_dim


def _heads(attention: nn.MultiheadAttention | SlimAttention) -> int:
    packed = attention.in_proj_weight
    rows = attention.q_proj_weight.shape[0] if packed is None else packed.shape[0] // 3  # type: ignore[union-attr]
    return rows // attention.head_dim
