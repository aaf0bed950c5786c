"""Spectra: singular values of all slices of a weight, from Gram matrices that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from lightning_prune.lowrank.folding import Folding

# (where the weight lies and how, its version, folding without slices) -> the weight, which so keeps
# its place, and by number of slices their spectrum
_Key = tuple[int, tuple[int, ...], int, Folding]
_Known = dict[_Key, tuple[Tensor, dict[int, Tensor]]]
_seen: ContextVar[_Known | None] = ContextVar("seen", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """Inside, the spectra of a weight that does not change are worked out once."""
    token = _seen.set({}) if _seen.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _seen.reset(token)


@torch.no_grad()
def spectra(
    weight: Tensor, folding: Folding, slices: Iterable[int] | None = None
) -> dict[int, Tensor]:
    r"""Singular values of every slice of a folded weight, for several numbers of slices.

    They are roots of the eigenvalues of a Gram matrix of the smaller side, in float64, which is
    more accurate than singular values in float32 above :math:`10^{-7}` of the largest. Slices
    that have at least as many columns as rows add up: the Gram matrix of two of them side by side
    is the sum of theirs. Of slices with fewer, the Gram matrices are blocks on the diagonal of
    those of wider ones. So every product is computed once.

    Arguments:
        weight: Any real dtype.
        folding: Shape, groups and scheme; its slices count where none are given.
        slices: Divisors of the channels of a group.

    Returns:
        By number of slices k, (groups, k, full rank) float64, descending, on the weight's device.

    Raises:
        ValueError: The weight holds NaN or infinity.
    """
    wanted = set(slices if slices is not None else [folding.slices])
    known: dict[int, Tensor] = {}
    # a tensor of inference mode does not say when it changes
    if (memory := _seen.get()) is not None and not weight.is_inference():
        place = weight.data_ptr(), weight.stride(), weight._version
        key = *place, dataclasses.replace(folding, slices=1)
        known = memory.setdefault(key, (weight, {}))[1]
    missing = sorted(wanted - known.keys())
    if missing:
        if not bool(weight.isfinite().all()):
            raise ValueError("its weights hold NaN or infinity, and have no singular values.")
        known.update(_spectra(weight.to(torch.float64), folding, missing))
    return {count: known[count] for count in wanted}


def _spectra(weight: Tensor, folding: Folding, slices: Sequence[int]) -> dict[int, Tensor]:
    """Ascending `slices`, in float64."""
    found: dict[int, Tensor] = {}
    wide = [k for k in slices if folding.columns // k >= folding.rows]
    grams: dict[int, Tensor] = {}
    for count in reversed(wide):  # the narrowest first
        source = min((k for k in grams if k % count == 0), default=None)
        if source is None:
            parts = dataclasses.replace(folding, slices=count).matrices(weight)
            gram = parts @ parts.mT
            grams[count] = gram.unflatten(0, (folding.groups, count))
        else:
            apart = grams[source].unflatten(1, (count, source // count))
            grams[count] = apart.sum(2)
        found[count] = _roots(grams[count])
    grams = {}
    for count in slices[len(wide) :]:  # the widest first
        source = max((k for k in grams if count % k == 0), default=None)
        if source is None:
            parts = dataclasses.replace(folding, slices=count).matrices(weight)
            gram = parts.mT @ parts
            grams[count] = gram.unflatten(0, (folding.groups, count))
        else:
            times, size = count // source, folding.columns // count
            blocks = grams[source].unflatten(3, (times, size)).unflatten(2, (times, size))
            diagonal = blocks.diagonal(dim1=2, dim2=4)  # (groups, source, size, size, times)
            grams[count] = diagonal.movedim(4, 2).flatten(1, 2)
        found[count] = _roots(grams[count])
    return found


def _roots(grams: Tensor) -> Tensor:
    """Singular values, descending, of matrices with these Gram matrices."""
    return torch.linalg.eigvalsh(grams).clamp_min_(0).sqrt_().flip(-1)


@torch.no_grad()
def singular_vectors(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Thin singular value decompositions :math:`U \, \mathrm{diag}(s) V^T` by Gram matrices.

    One side's vectors are eigenvectors of the smaller Gram matrix, the other's their images,
    divided by s; where s is 0, they are 0. So the product is exact to float64 whatever s.

    Arguments:
        matrices: (count, m, n), any real dtype.

    Returns:
        (count, m, r), (count, r) descending, (count, r, n) in float64, r the smaller of m and n.
    """
    exact = matrices.to(torch.float64)
    if exact.shape[2] < exact.shape[1]:
        left, values, right = singular_vectors(exact.mT)
        return right.mT, values, left.mT
    _, vectors = torch.linalg.eigh(exact @ exact.mT)
    vectors = vectors.flip(-1)
    images = vectors.mT @ exact
    values = images.norm(dim=2)
    scale = torch.where(values > 0, values, torch.inf)
    return vectors, values, images / scale[:, :, None]
