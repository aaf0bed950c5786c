"""Norms: statistics over some dimensions, and a scale and shift for every channel."""

from __future__ import annotations

from lightning_prune.network.calls import Call, Known, Rules


def batch_norm(call: Call) -> Rules:
    """Channels (dimension 1) one by one; whatever is one-dimensional belongs to them."""
    size = call.inputs[0].shape[1]
    ids = call.known(call.inputs[0]).dims[1]
    for tensor in call.inputs:
        dims = call.known(tensor).dims
        if tensor.dim() == 1 and len(tensor) == size:
            ids = call.labels.merge(ids, dims[0], "they are of a norm on channels of no layer")
        for dim, own in enumerate(dims):
            if dim == 1:
                ids = call.labels.merge(ids, own, "they are of a norm on channels of no layer")
            elif tensor.dim() > 1:
                call.labels.pin(own, f"{call.name} runs over them")
    return [
        Known(tuple(ids if dim == min(1, out.dim() - 1) else None for dim in range(out.dim())))
        if size in out.shape[:2]
        else None
        for out in call.outputs
    ]


def other_norm(call: Call) -> Rules:
    """Layer norm pins what it runs over; group norm too, unless every channel is a group."""
    x = call.inputs[0]
    dims = call.known(x).dims
    if call.name == "native_group_norm":
        if call.arguments["group"] == x.shape[1]:
            return batch_norm(call)
        over = range(1, x.dim())
    else:
        over = range(x.dim() - len(call.arguments["normalized_shape"]), x.dim())
    why = f"{call.name.removeprefix('native_')} runs over them"
    for dim in over:
        call.labels.pin(dims[dim], why)
    call.pin(call.inputs[1:], why)
    return [Known(dims)]
