"""Operators: the rule by which each passes on, ties or pins the labels of its arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from lightning_prune.network import products, views
from lightning_prune.network.calls import Call, Known, Rule, Rules
from lightning_prune.network.grids import meet
from lightning_prune.network.labels import Ids, free
from lightning_prune.network.norms import batch_norm, group_norm, layer_norm
from lightning_prune.network.reshapes import reshape
from lightning_prune.network.views import aligned

SPACE = re.compile(r"(?:pool|upsample|reflection_pad|replication_pad)\D*(\d)d")


def rule(call: Call) -> Rule:
    """The rule of an operator; what is not known pins everything."""
    found = RULES.get(call.name) or _by_kind(call)
    if found is constant:
        return found
    if not any(call.known(tensor) for tensor in call.inputs):
        return ignore
    if found not in HANDED_ON:
        call.use()
    if found not in HANDED_ON and found not in GRIDDED:
        for tensor in call.inputs:
            call.settle(tensor)
    return found


def _by_kind(call: Call) -> Rule:
    if "batch_norm" in call.name:
        return batch_norm
    if SPACE.search(call.name):
        return space
    return pointwise if torch.Tag.pointwise in getattr(call.func, "tags", ()) else unknown


def ignore(call: Call) -> Rules:
    """Nothing is labelled."""
    return []


def unknown(call: Call) -> Rules:
    """Nobody knows what it does to its arguments: they stay."""
    call.pin(call.inputs, f"the operator {call.name} is not followed")
    return []


def constant(call: Call) -> Rules:
    """Every entry is the same, however many there are."""
    return [Known(tuple(free(size) for size in out.shape)) for out in call.outputs]


def like(call: Call) -> Rules:
    """New values in the shape of the argument, hence of as many channels."""
    known = call.known(call.inputs[0])
    return [Known(known.dims, grid=known.grid)]


def pointwise(call: Call) -> Rules:
    """Entry by entry: what meets at an index is one unit."""
    results: Rules = []
    grid = meet(call, call.outputs[0].shape) if call.outputs else None
    shown = [(shape, dims) for shape, dims in call.shown(call.inputs) if shape]
    for out in call.outputs:
        fits = [part for part in shown if _broadcasts(part[0], out.shape)]
        if len(fits) < len(shown):
            call.pin(call.inputs, f"the operator {call.name} is not followed")
            fits = []
        known = Known(tuple(aligned(call, out.shape, fits)), grid=grid) if fits else None
        results.append(known)
    return results


def reduction(call: Call) -> Rules:
    """One value for all indices of some dimensions."""
    tensor = call.inputs[0]
    if len(call.inputs) > 1:  # max and min of two tensors
        return pointwise(call)
    gone = _dims(call.arguments.get("dim"), tensor.dim())
    known = call.known(tensor)
    stays = [dim for dim in range(tensor.dim()) if dim not in gone]
    grid = known.grid and known.grid.moved(
        {dim: dim if call.arguments.get("keepdim") else new for new, dim in enumerate(stays)}
    )
    if grid is not None and not grid.shown:
        call.labels.pin(grid.whole.reshape(-1), f"{call.name} runs over them")
    kept: list[Ids | None] = []
    for dim, ids in enumerate(known.dims):
        if dim not in gone:
            kept.append(ids)
            continue
        call.labels.pin(ids, f"{call.name} runs over them")
        if call.arguments.get("keepdim"):
            kept.append(None)
    found = Known(tuple(kept), grid=grid)
    return [found if out.dim() == len(kept) else None for out in call.outputs]


def along(call: Call) -> Rules:
    """Indices of one dimension act on one another; the others stay apart."""
    dim = call.arguments["dim"] % max(call.inputs[0].dim(), 1)
    grid = meet(call, call.inputs[0].shape)
    for tensor in call.inputs:
        if tensor.dim() > dim:
            call.labels.pin(call.known(tensor).dims[dim], f"{call.name} runs over them")
    dims = aligned(call, call.inputs[0].shape, call.shown(call.inputs), skip=dim)
    found = Known(tuple(dims), grid=grid and grid.fixing([dim]))
    return [found for _ in call.outputs]


def roll(call: Call) -> Rules:
    """Indices of some dimensions moved on; by how many is a number of the dense network."""
    if not call.arguments["dims"]:
        return unknown(call)
    known = call.known(call.inputs[0])
    dims = [*known.dims]
    for dim in call.arguments["dims"]:
        call.labels.pin(dims[dim], "roll runs over them")
        dims[dim] = None
    return [Known(tuple(dims))]


def halves(call: Call) -> Rules:
    """`glu`: the second half of a dimension gates the first."""
    known = call.known(call.inputs[0])
    dim = call.arguments["dim"] % len(known.dims)
    dims, ids = [*known.dims], known.dims[dim]
    if ids is not None:
        middle = len(ids) // 2
        dims[dim] = call.labels.merge(ids[:middle], ids[middle:], "glu gates them by others")
    return [Known(tuple(dims))]


def space(call: Call) -> Rules:
    """Pooling, resampling and padding of the last dimensions; backwards too."""
    found = SPACE.search(call.name)
    places = int(found[1]) if found else 0
    parts = []
    for tensor in call.inputs:
        dims = call.known(tensor).dims
        if tensor.dim() != call.outputs[0].dim():
            call.pin([tensor], f"the operator {call.name} is not followed")
            continue
        for ids in dims[len(dims) - places :]:
            call.labels.pin(ids, f"{call.name} runs over them")
        parts.append((tensor.shape[: len(dims) - places], dims[: len(dims) - places]))
    shape = call.outputs[0].shape
    leading = aligned(call, shape[: len(shape) - places], parts)
    return [Known((*leading, *[None] * places)) for _ in call.outputs]


def _dims(given: int | Sequence[int] | None, total: int) -> set[int]:
    if given is None or (not isinstance(given, int) and len(given) == 0):
        return set(range(total))
    listed = [given] if isinstance(given, int) else given
    return {dim % total for dim in listed} if total else set()


def _broadcasts(shape: Sequence[int], out: Sequence[int]) -> bool:
    if len(shape) > len(out):
        return False
    pairs = zip(shape, out[len(out) - len(shape) :], strict=True)
    return all(own in (1, size) for own, size in pairs)


TABLE: dict[Rule, str] = {
    constant: "zeros ones full empty empty_strided new_zeros new_ones new_full new_empty "
    "new_empty_strided scalar_tensor",
    views.same: "alias clone contiguous detach lift_fresh _to_copy fill zero bernoulli uniform "
    "normal exponential random",
    like: "zeros_like ones_like full_like empty_like rand_like randn_like",
    # those that not every torch tags so
    pointwise: "copy where masked_fill floor_divide hardswish native_dropout log_sigmoid_forward "
    "hardtanh hardsigmoid leaky_relu "
    "elu_backward hardsigmoid_backward hardswish_backward hardtanh_backward leaky_relu_backward "
    "log_sigmoid_backward mish_backward softplus_backward softshrink_backward _prelu_kernel "
    "_prelu_kernel_backward",
    reduction: "sum nansum mean amax amin max min argmax argmin prod var std var_mean std_mean "
    "logsumexp norm linalg_vector_norm any all median count_nonzero",
    along: "_softmax _safe_softmax _log_softmax _softmax_backward_data "
    "_log_softmax_backward_data cumsum cumprod sort topk",
    roll: "roll",
    halves: "glu",
    layer_norm: "native_layer_norm",
    group_norm: "native_group_norm",
    reshape: "view _unsafe_view reshape _reshape_alias squeeze unsqueeze",
    views.transpose: "t transpose permute",
    views.expand: "expand",
    views.repeat: "repeat",
    views.take: "slice index_select index flip",
    views.select: "select unbind",
    views.split: "split split_with_sizes unsafe_split unsafe_split_with_sizes",
    views.cat: "cat",
    views.stack: "stack",
    views.pad: "constant_pad_nd",
    views.cut_gradient: "slice_backward select_backward",
    products.matmul: "mm bmm addmm baddbmm",
    products.convolution: "convolution",
    products.convolution_backward: "convolution_backward",
}
RULES = {name: found for found, names in TABLE.items() for name in names.split()}
# nothing is computed, and all labels go along
HANDED_ON = (views.same, reshape, views.transpose, views.cat)
# these know of dimensions that were split
GRIDDED = (
    ignore, constant, like, pointwise, reduction, along, layer_norm, views.expand, views.take,
    views.select, views.split, products.matmul,
)  # fmt: skip
