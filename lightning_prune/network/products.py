"""Products: operators that sum over channels with a weight, where readers and producers meet."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lightning_prune.network.calls import Call, Known, Rules, in_backward
from lightning_prune.network.labels import Ids
from lightning_prune.network.views import aligned

UNLABELLED = "it reads channels that no layer made"


def matmul(call: Call) -> Rules:
    """`mm`, `bmm` and their kin that add a bias: of a weight, or of two activations."""
    *bias, left, right = call.inputs
    weight = _weight(call, call.known(left), call.known(right))
    for tensor in call.inputs:
        grid = call.known(tensor).grid
        batched = weight is None and tensor.dim() == 3 and grid is not None
        call.settle(tensor, 0 if batched and grid and grid.axis(0) is not None else None)
    a, b = call.known(left), call.known(right)
    labels = call.labels
    why = f"{call.name} runs over them"
    if weight is None:
        why = "they enter a product of two activations"
        for ids in (*a.dims[-2:], *b.dims[-2:]):
            labels.pin(ids, why)
    batch = [labels.merge(x, y, why) for x, y in zip(a.dims[:-2], b.dims[:-2], strict=True)]
    if weight is not None:
        inner = labels.merge(a.dims[-1], b.dims[-2], UNLABELLED)
        by_left = weight.source == a.source
        outer, other = (a.dims[-2], b.dims[-1]) if by_left else (b.dims[-1], a.dims[-2])
        # a product over other channels would have its multiply-adds depend on them
        labels.pin(other, "a layer is applied along them")
        _account(call, weight, inner, outer)
    shape = call.outputs[0].shape
    parts = [(shape, (*batch, a.dims[-2], b.dims[-1]))]
    parts += [(term.shape, call.known(term).dims) for term in bias]
    return [Known(tuple(aligned(call, shape, parts)))]


def convolution(call: Call) -> Rules:
    """Full, grouped and depthwise convolutions, transposed too."""
    x, weight, bias = (call.arguments[name] for name in ("input", "weight", "bias"))
    channels = _channels(call, x, weight)
    if channels is None:
        return []
    read, made = channels
    full = call.arguments["groups"] == 1  # what a group reads goes on as the same unit
    _account(call, call.known(weight), read if full else None, made)
    if bias is not None:
        why = "a convolution adds a bias of no layer"
        made = call.labels.merge(made, call.known(bias).dims[0], why)
    return [Known((None, made, *[None] * (call.outputs[0].dim() - 2)))]


def convolution_backward(call: Call) -> Rules:
    """The gradient with respect to the input; that of a weight is not followed."""
    grad, x, weight = (call.arguments[name] for name in ("grad_output", "input", "weight"))
    if list(call.arguments["output_mask"]) != [True, False, False]:
        call.pin(call.inputs, "a gradient of the weights is taken in the forward")
        return []
    channels = _channels(call, x, weight)
    if channels is None:
        return []
    read, made = channels
    call.labels.merge(call.known(grad).dims[1], made, UNLABELLED)
    _account(call, call.known(weight), read, made)
    return [Known((None, read, *[None] * (x.dim() - 2)))]


def _weight(call: Call, a: Known, b: Known) -> Known | None:
    """The factor that is a parameter; of two, the one that is a layer's weight."""
    held = call.labels.held
    found = [known for known in (a, b) if known.source is not None]
    if len(found) == 2:
        found = [known for known in found if held[known.source or 0].layer]
    return found[0] if len(found) == 1 else None


def _channels(call: Call, x: Tensor, weight: Tensor) -> tuple[Ids | None, Ids | None] | None:
    """Labels of the channels that a convolution reads and of those that it makes."""
    labels, known, w = call.labels, call.known(x), call.known(weight)
    transposed, groups = call.arguments["transposed"], call.arguments["groups"]
    for dim, ids in enumerate(known.dims):
        if dim != 1:
            labels.pin(ids, "a convolution runs over them")
    if w.source is None:
        call.pin(call.inputs, "their convolution's weight is computed in the forward")
        return None
    if groups == 1:
        made, read = (w.dims[1], w.dims[0]) if transposed else (w.dims[0], w.dims[1])
        return labels.merge(known.dims[1], read, UNLABELLED), made
    return _grouped(call, known.dims[1], w, weight.shape, transposed)


def _grouped(
    call: Call, ids: Ids | None, weight: Known, shape: tuple[int, ...], transposed: bool
) -> tuple[Ids | None, Ids | None]:
    """What one group of channels reads and makes is one unit; in a depthwise one that is a channel.

    The dimension of the weight that all groups share keeps its size.
    """
    labels, groups = call.labels, call.arguments["groups"]
    why = "a grouped convolution reads channels that no layer made"
    own, shared = weight.dims[0], weight.dims[1]
    if transposed:
        labels.pin(shared, "a grouped transposed convolution makes them of each group's channels")
    if ids is None or own is None:
        return ids, labels.merge(ids, own, why)
    rows = own.reshape(groups, -1)
    labels.join(np.concatenate([rows, ids.reshape(groups, -1)], axis=1), why)
    if transposed:
        return ids, np.repeat(rows[:, 0], shape[1])
    return ids, own


def _account(call: Call, weight: Known, read: Ids | None, made: Ids | None) -> None:
    """Note what a weight did: multiply-adds, what it sums over and what it makes."""
    labels, source = call.labels, weight.source
    assert source is not None
    call.trace.work[source] += call.macs
    if not weight.whole:
        for ids in labels.held[source].dims:
            labels.pin(ids, "only a part of the weight is used at a time")
    if in_backward():
        return  # rows and columns change places
    call.trace.calls[source] += 1
    if read is not None:
        labels.read.update(read[read >= 0].tolist())
    if made is not None:
        labels.made.update((label, source) for label in made[made >= 0].tolist())
        if len(made) == 1:
            labels.pin(made, "it is the only one of its layer")
