"""The product of two matrices in which sums are maxima, within a bound on memory."""

from __future__ import annotations

import torch
from torch import Tensor

CACHED = 1 << 19  # numbers in a block of products that stays in a processor's cache


def max_product(largest: Tensor, rates: Tensor, inputs: Tensor, numbers: int) -> None:
    """Raise `largest[g, r, c]` to the maximum over points of `rates[g, r, p] * inputs[g, c, p]`.

    Arguments:
        largest: (groups, rows, columns), changed in place.
        rates: (groups, rows, points).
        inputs: (groups, columns, points).
        numbers: Products that exist at one time at most.
    """
    if largest.device.type == "cpu":
        numbers = min(numbers, CACHED)
    (groups, rows, columns), points = largest.shape, rates.shape[2]
    # few points of many products: one outer product a point is a longer run than one dot of points
    if 32 * points < rows * columns:
        for group in range(groups):
            _by_point(largest[group], rates[group], inputs[group], numbers)
        return
    span = min(points, numbers)
    wide = min(columns, max(1, numbers // span))
    high = min(rows, max(1, numbers // (span * wide)))
    deep = min(groups, max(1, numbers // (span * wide * high)))
    for group in range(0, groups, deep):
        g = slice(group, group + deep)
        for point in range(0, points, span):
            p = slice(point, point + span)
            for row in range(0, rows, high):
                r = slice(row, row + high)
                rate = rates[g, r, None, p]
                for column in range(0, columns, wide):
                    c = slice(column, column + wide)
                    found = (rate * inputs[g, None, c, p]).amax(-1)
                    torch.maximum(largest[g, r, c], found, out=largest[g, r, c])


def _by_point(largest: Tensor, rates: Tensor, inputs: Tensor, numbers: int) -> None:
    """The same of one group, as the running maximum of outer products."""
    rates, inputs = rates.t().contiguous(), inputs.t().contiguous()
    rows, columns = largest.shape
    wide = min(columns, numbers)
    high = min(rows, max(1, numbers // wide))
    buffer = largest.new_empty(high, wide)
    for row in range(0, rows, high):
        for column in range(0, columns, wide):
            block = largest[row : row + high, column : column + wide]
            product = buffer[: block.shape[0], : block.shape[1]]
            left = rates[:, row : row + high, None].unbind()
            right = inputs[:, None, column : column + wide].unbind()
            for one, other in zip(left, right, strict=True):
                torch.mul(one, other, out=product)
                torch.maximum(block, product, out=block)
