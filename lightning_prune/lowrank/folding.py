"""Folding: a convolution's or a linear layer's weight as matrices that are cut to low rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Tensor

# by scheme, which spatial axes of the kernel the encoder has; the decoder has the others
ENCODED: Mapping[int, tuple[bool, bool]] = {
    0: (True, True),
    1: (False, True),
    2: (True, False),
    3: (False, False),
}
Maps = Mapping[tuple[bool, ...], int]


@dataclass(frozen=True)
class Folding:
    r"""How a weight is seen as `groups * slices` matrices, each to be written as a product.

    The input channels of every group of a layer are cut into slices of equal size. A slice of the
    weight is folded into a matrix of `rows` x `columns / slices`. Of a matrix of rank j the right
    factors of all slices together are the *encoder*, a layer with `groups * slices * j` outputs
    that runs first, and the left ones the *decoder*.

    | scheme | rows | columns | encoder's kernel | decoder's kernel |
    |---|---|---|---|---|
    | 0 | f | c a b | a x b | 1 x 1 |
    | 1 | f a | c b | 1 x b | a x 1 |
    | 2 | f b | c a | a x 1 | 1 x b |
    | 3 | f a b | c | 1 x 1 | a x b |

    for f filters, c channels of a slice and a kernel of a x b; the leftmost index is the slowest.
    Schemes 1 and 2 are of two-dimensional kernels. A grouped layer is as many independent layers.

    References:
        | Compressing Neural Networks: Towards Determining the Optimal Layer-wise Decomposition
          (Liebenwein et al., 2021)
        | https://arxiv.org/abs/2107.11442

    Arguments:
        shape: Of the weight: (filters, channels of a group, *kernel).
        groups: Of the layer.
        scheme: 0 to 3.
        slices: Into which the channels of each group are cut; divides their number.

    Raises:
        ValueError: There is no such scheme for the kernel, or the slices do not divide the
            channels.
    """

    shape: tuple[int, ...]
    groups: int = 1
    scheme: int = 0
    slices: int = 1

    def __post_init__(self) -> None:
        if self.scheme not in schemes_of(self.shape, ENCODED, alike=True):
            known = ", ".join(map(str, schemes_of(self.shape, ENCODED, alike=True)))
            raise ValueError(
                f"There is no folding scheme {self.scheme!r} for a kernel of "
                f"{len(self.shape) - 2} axes, but {known}."
            )
        if self.slices < 1 or self.shape[1] % self.slices:
            raise ValueError(f"{self.shape[1]} channels have no {self.slices} slices of one size.")

    @cached_property
    def encoded(self) -> tuple[bool, ...]:
        """By spatial axis, whether the encoder has the kernel."""
        if len(self.shape) == 4:
            return ENCODED[self.scheme]
        return (self.scheme == 0,) * (len(self.shape) - 2)

    @property
    def rows(self) -> int:
        """Of each matrix."""
        return self.shape[0] // self.groups * math.prod(self._kernel(of_encoder=False))

    @property
    def columns(self) -> int:
        """Of the matrices of one group together."""
        return self.shape[1] * math.prod(self._kernel(of_encoder=True))

    @property
    def full_rank(self) -> int:
        """The largest rank that a matrix can have."""
        return min(self.rows, self.columns // self.slices)

    @property
    def numel(self) -> int:
        """Entries of the dense weight."""
        return math.prod(self.shape)

    def params(self, rank: int) -> int:
        """Entries of encoder and decoder together."""
        return self.groups * rank * (self.slices * self.rows + self.columns)

    def macs(self, rank: int, positions: int, maps: Maps | None) -> int:
        """Multiply-adds of one sample in encoder and decoder together.

        Arguments:
            rank: Of every matrix.
            positions: At which the dense layer applies each entry, per sample.
            maps: By the axes that an encoder has, the places of its output, per sample: along the
                other axes it runs at the resolution of its input. None: those of the output.
        """
        everywhere = (True,) * len(self.encoded)
        share = maps[self.encoded] / maps[everywhere] if maps else 1.0
        first = round(positions * share) * self.groups * rank * self.columns
        return first + positions * self.groups * rank * self.slices * self.rows

    def matrices(self, weight: Tensor) -> Tensor:
        """(groups * slices, rows, columns / slices) of a weight-shaped tensor."""
        filters, axes = self.shape[0] // self.groups, self._axes()
        sizes = (self.groups, filters, self.slices, self.shape[1] // self.slices, *self.shape[2:])
        kernel = {who: [4 + axis for axis in axes[who]] for who in axes}
        ordered = weight.reshape(sizes).permute(0, 2, 1, *kernel[False], 3, *kernel[True])
        return ordered.reshape(self.groups * self.slices, self.rows, self.columns // self.slices)

    def weight(self, matrices: Tensor) -> Tensor:
        """The weight-shaped tensor of matrices; the inverse."""
        kernel = self.shape[2:]
        axes = self._axes()
        sizes = [self.groups, self.slices, self.shape[0] // self.groups]
        sizes += [kernel[i] for i in axes[False]]
        sizes += [self.shape[1] // self.slices, *(kernel[i] for i in axes[True])]
        parts = matrices.reshape(sizes)
        # where (filters, channels, *kernel) are now
        channels = 3 + len(axes[False])
        place = {axis: 3 + i for i, axis in enumerate(axes[False])}
        place |= {axis: channels + 1 + i for i, axis in enumerate(axes[True])}
        order = [0, 2, 1, channels, *(place[i] for i in range(len(kernel)))]
        return parts.permute(order).reshape(self.shape)

    def encoder_shape(self, rank: int) -> tuple[int, ...]:
        """Of the encoder's weight, a layer of `groups * slices` groups."""
        outputs = self.groups * self.slices * rank
        return (outputs, self.shape[1] // self.slices, *self._kernel(of_encoder=True))

    def decoder_shape(self, rank: int) -> tuple[int, ...]:
        """Of the decoder's weight, a layer of `groups` groups."""
        return (self.shape[0], self.slices * rank, *self._kernel(of_encoder=False))

    def encoder(self, right: Tensor) -> Tensor:
        """The encoder's weight of right factors (groups * slices, rank, columns / slices)."""
        return right.reshape(self.encoder_shape(right.shape[1]))

    def decoder(self, left: Tensor) -> Tensor:
        """The decoder's weight of left factors (groups * slices, rows, rank)."""
        rank, filters = left.shape[2], self.shape[0] // self.groups
        kernel = self.rows // filters
        parts = left.reshape(self.groups, self.slices, filters, kernel, rank)
        return parts.permute(0, 2, 1, 4, 3).reshape(self.decoder_shape(rank))

    def right(self, encoder: Tensor) -> Tensor:
        """(groups * slices, rank, columns / slices) right factors of an encoder's weight."""
        count = self.groups * self.slices
        return encoder.reshape(count, len(encoder) // count, self.columns // self.slices)

    def left(self, decoder: Tensor) -> Tensor:
        """(groups * slices, rows, rank) left factors of a decoder's weight."""
        filters, rank = self.shape[0] // self.groups, decoder.shape[1] // self.slices
        parts = decoder.reshape(self.groups, filters, self.slices, rank, self.rows // filters)
        return parts.permute(0, 2, 1, 4, 3).reshape(self.groups * self.slices, self.rows, rank)

    def compose(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """The dense weight of the two factors, slice by slice."""
        return self.weight(self.left(decoder) @ self.right(encoder))

    def _kernel(self, of_encoder: bool) -> tuple[int, ...]:
        pairs = zip(self.shape[2:], self.encoded, strict=True)
        return tuple(size if encoded == of_encoder else 1 for size, encoded in pairs)

    def _axes(self) -> dict[bool, list[int]]:
        """The spatial axes of the decoder (False) and of the encoder (True)."""
        return {who: [i for i, e in enumerate(self.encoded) if e is who] for who in (False, True)}


def schemes_of(
    shape: Sequence[int], schemes: Sequence[int] | Mapping[int, object], alike: bool = False
) -> list[int]:
    """Those of the schemes that a weight of that shape can be folded by.

    Arguments:
        shape: Of the weight.
        schemes: To choose from.
        alike: Also those that give the same factors as an earlier one, for want of a kernel.
    """
    several = len(shape) == 4
    known = [s for s in schemes if s in ENCODED and (several or s in (0, 3))]
    if len(shape) == 2:
        known = [s for s in known if s == 0]
    if alike:
        return known
    seen, distinct = set(), []
    for scheme in known:
        owned = ENCODED[scheme] if several else (scheme == 0,) * (len(shape) - 2)
        matter = tuple(o for o, size in zip(owned, shape[2:], strict=True) if size > 1)
        if matter not in seen:
            seen.add(matter)
            distinct.append(scheme)
    return distinct


@lru_cache
def divisors(number: int) -> tuple[int, ...]:
    """All of them, ascending."""
    return tuple(d for d in range(1, number + 1) if number % d == 0)


def nearest_divisor(number: int, wanted: int) -> int:
    """The divisor nearest to what is wanted; of two, the larger."""
    return min(divisors(number), key=lambda d: (abs(d - wanted), -d))
