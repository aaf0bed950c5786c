"""Factors: a layer whose weight is the product of two, and is itself again on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from lightning_prune.lowrank.folding import ENCODED, Folding, nearest_divisor, schemes_of
from lightning_prune.lowrank.spectra import singular_vectors

LOADED = tuple(f"parametrizations.weight.original{place}" for place in (0, 1))


class Factors(nn.Module):
    """The parametrization of a weight by an encoder and a decoder, its two parameters.

    The module that holds it stays the same object, with the same bias, and works as before; its
    `weight` is computed from the factors. `lightning_prune.export_factors` makes two layers of it.

    Arguments:
        folding: How the weight is seen as matrices.
        start: (encoder, decoder), or their common rank: then they are the best of that rank.
    """

    def __init__(self, folding: Folding, start: tuple[Tensor, Tensor] | int) -> None:
        super().__init__()
        self.folding = folding
        self._start = start

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """The dense weight."""
        return self.folding.compose(encoder, decoder)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The factors to start with; later, the best of their rank for another weight."""
        if isinstance(self._start, tuple):
            start = self._start
            self._start = start[1].shape[1] // self.folding.slices
            return start
        return balanced(weight, self.folding, range(self._start))

    def extra_repr(self) -> str:
        """Of the module's representation."""
        return f"scheme={self.folding.scheme}, slices={self.folding.slices}"


def balanced(
    weight: Tensor, folding: Folding, kept: Sequence[int] | Tensor, gains: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""(encoder, decoder) of some singular directions of every slice.

    The roots of the singular values go to either side, so both have the same norm.

    Arguments:
        weight: Dense.
        folding: How it is seen as matrices.
        kept: Places of the directions, 0 that of the largest singular value.
        gains: (len(kept),) factors of the directions; None: all 1.

    Returns:
        In the weight's dtype, as `Folding.encoder_shape` and `decoder_shape` say.
    """
    left, values, right = singular_vectors(folding.matrices(weight))
    places = kept if isinstance(kept, Tensor) else torch.tensor(list(kept), dtype=torch.int64)
    places = places.to(weight.device)
    values = values[:, places]
    sign = torch.ones_like(values)
    if gains is not None:
        sign, values = gains.sign().to(values), values * gains.abs().to(values)
    roots = values.sqrt()
    encoder = folding.encoder(right[:, places] * roots[:, :, None])
    decoder = folding.decoder(left[:, :, places] * (roots * sign)[:, None, :])
    return encoder.to(weight.dtype).contiguous(), decoder.to(weight.dtype).contiguous()


def factorise(module: nn.Module, folding: Folding, encoder: Tensor, decoder: Tensor) -> None:
    """Let two new parameters stand in the place of a layer's weight."""
    trains = cast("nn.Parameter", module.weight).requires_grad
    parametrize.register_parametrization(
        module, "weight", Factors(folding, (encoder, decoder)), unsafe=True
    )
    for factor in _originals(module):
        factor.requires_grad_(trains)


def folding_of(module: nn.Module) -> Folding | None:
    """How the weight of a factored layer is folded; None: it is a plain one."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    first = module.parametrizations.weight[0]  # type: ignore[index,union-attr]
    return first.folding if isinstance(first, Factors) else None


def factors_of(module: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """(encoder, decoder) of a factored layer, live."""
    encoder, decoder = _originals(module)
    return encoder, decoder


def compose(module: nn.Module) -> None:
    """Give a factored layer a plain weight again, a new parameter; others stay as they are."""
    if folding_of(module) is None:
        return
    weight = cast("Tensor", module.weight).detach().clone()
    replace_by_dense(module, weight)


def replace_by_dense(module: nn.Module, weight: Tensor) -> None:
    """Take the factors away and put a weight where they stand for it."""
    trains = factors_of(module)[0].requires_grad
    parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    module._parameters.pop("weight", None)
    module._buffers.pop("weight", None)  # that is what a frozen one was made
    others = dict(module._parameters)
    module._parameters.clear()  # first again, as in a fresh layer: optimizers count by order
    module._parameters["weight"] = nn.Parameter(weight, requires_grad=trains)
    module._parameters.update(others)


def foldable(module: nn.Module) -> str | None:
    """Why a layer cannot be factored; None: it can be."""
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return "MultiheadAttention reads its weight itself"
    if isinstance(module, _ConvTransposeNd):
        return "it is a transposed convolution"
    if isinstance(module, _ConvNd):
        own = module.in_channels // module.groups, module.out_channels // module.groups
        if module.groups > 1 and 1 in own:
            return "it is depthwise: its matrices have rank 1 already"
        return None
    return None if isinstance(module, nn.Linear) else f"{type(module).__name__} has no scheme"


def folding_for(module: nn.Module, scheme: int = 0, slices: int = 1) -> Folding:
    """The folding of a layer; the number of slices is the nearest that its channels allow."""
    known = folding_of(module)
    shape = known.shape if known else tuple(cast("Tensor", module.weight).shape)
    count = nearest_divisor(shape[1], slices)
    return Folding(shape, getattr(module, "groups", 1), scheme, count)


def folding_from(module: nn.Module, encoder: Tensor, decoder: Tensor) -> Folding:
    """The folding that two factors of a layer were made by, from their shapes alone.

    Raises:
        ValueError: They are of another layer.
    """
    like = folding_for(module)
    for scheme in schemes_of(like.shape, ENCODED, alike=True):
        if encoder.dim() != len(like.shape) or like.shape[1] % max(encoder.shape[1], 1):
            continue
        slices = like.shape[1] // encoder.shape[1]
        folding = Folding(like.shape, like.groups, scheme, slices)
        rank = decoder.shape[1] // slices if decoder.dim() > 1 else 0
        shapes = folding.encoder_shape(rank), folding.decoder_shape(rank)
        if shapes == (tuple(encoder.shape), tuple(decoder.shape)):
            return folding
    raise ValueError(
        f"factors of {tuple(encoder.shape)} and {tuple(decoder.shape)} do not make a weight of "
        f"{like.shape}."
    )


def _originals(module: nn.Module) -> list[nn.Parameter]:
    held = module.parametrizations.weight  # type: ignore[union-attr]
    return [getattr(held, f"original{place}") for place in (0, 1)]
