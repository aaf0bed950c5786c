"""2:4 sparsity as a format: half the values and two bits each, and kernels of GPUs that use it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_prune.network.layers import plain_name

BLOCK, KEPT = 4, 2
CAPABILITY = (8, 0)  # of the first GPUs with such kernels
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


class Packed(NamedTuple):
    """A weight of which every block of four has two entries.

    Arguments:
        values: (outputs, inputs / 2), in the order in which they stood.
        indices: (outputs, bytes) uint8, two bits an entry: where in its block it stood. The first
            entry of a row is in the lowest bits of its first byte.
    """

    values: Tensor
    indices: Tensor


class SemiStructured(NamedTuple):
    """One linear layer.

    Arguments:
        name: Of the layer.
        converted: Whether a sparse kernel computes it now.
        why: It is not; empty if it is.
    """

    name: str
    converted: bool
    why: str = ""


def pack_2_4(weight: Tensor, name: str = "weight") -> Packed:
    """Pack a matrix that has at most 2 non-zeros in every 4 consecutive inputs.

    Arguments:
        weight: (outputs, inputs), as the method `pattern_2_4` leaves it.
        name: Of the layer, for what is said of a mistake.

    Raises:
        ValueError: It is no matrix, its inputs are no multiple of 4, or a block has more.
    """
    wrong = _misfit(weight)
    if wrong:
        raise ValueError(f"{name} cannot be packed: {wrong}.")
    blocks = weight.detach().reshape(len(weight), -1, BLOCK)
    # stable: the non-zeros first, then as many zeros as it takes, both in their order
    order = (blocks == 0).to(torch.uint8).sort(stable=True, dim=-1).indices[..., :KEPT]
    places = order.sort(-1).values
    values = blocks.gather(-1, places).flatten(1)
    codes = places.flatten(1).to(torch.uint8)
    codes = nn.functional.pad(codes, (0, -codes.shape[1] % 4)).unflatten(1, (-1, 4))
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=weight.device)
    return Packed(values, (codes << shifts).sum(-1, dtype=torch.uint8))


def unpack_2_4(values: Tensor, indices: Tensor) -> Tensor:
    """The matrix that was packed.

    Arguments:
        values: (outputs, inputs / 2).
        indices: (outputs, bytes) uint8.

    Raises:
        ValueError: They do not belong together.
    """
    rows, kept = values.shape
    if kept % KEPT or indices.dtype != torch.uint8 or indices.shape != (rows, -(-kept // 4)):
        raise ValueError(
            f"Values of {tuple(values.shape)} have no indices of {tuple(indices.shape)}, "
            f"{indices.dtype}."
        )
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=indices.device)
    places = ((indices[..., None] >> shifts) & 3).flatten(1)[:, :kept].long()
    blocks = values.new_zeros(rows, kept // KEPT, BLOCK)
    blocks.scatter_(-1, places.unflatten(1, (-1, KEPT)), values.unflatten(1, (-1, KEPT)))
    return blocks.flatten(1)


@torch.no_grad()
def to_semi_structured(
    model: nn.Module, *, device: torch.device | str | None = None
) -> list[SemiStructured]:
    """Let sparse kernels compute the linear layers whose weights are 2:4, in place, on a GPU.

    Layers of other weights, and of sizes or types that the kernels do not take, stay dense; they
    are listed with the reason. For inference; whether it is faster depends on GPU, type and batch,
    so measure it.

    Arguments:
        model: With weights of `pattern_2_4`, best in float16 or bfloat16.
        device: To which the model is moved first; None: where it is.

    Raises:
        ValueError: That is no CUDA device of compute capability 8.0 or newer.
    """
    own = next((p.device for p in model.parameters()), torch.device("cpu"))
    place = torch.device(device) if device is not None else own
    _check(place)
    model.to(place)
    rows = []
    for name, layer in model.named_modules():
        if type(layer) is not nn.Linear:
            continue
        why = _misfit(layer.weight) or _convert(layer)
        rows.append(SemiStructured(plain_name(name), not why, why))
    return rows


def _convert(layer: nn.Linear) -> str:
    """Why the layer stays dense; empty where it does not."""
    if layer.weight.dtype not in DTYPES:
        return f"there is no kernel for {layer.weight.dtype}"
    try:
        sparse = torch.sparse.to_sparse_semi_structured(layer.weight.detach())
    except (RuntimeError, ValueError) as error:
        return " ".join(str(error).split())
    layer.weight = nn.Parameter(sparse, requires_grad=False)
    return ""


def _misfit(weight: Tensor) -> str:
    """Why a weight is not 2:4; empty where it is."""
    if weight.dim() != 2:
        return f"its weight has {weight.dim()} dimensions, not 2"
    if weight.shape[1] % BLOCK:
        return f"its {weight.shape[1]} inputs are no multiple of {BLOCK}"
    full = ((weight.detach().reshape(len(weight), -1, BLOCK) != 0).sum(-1) > KEPT).nonzero()
    if len(full):
        row, block = full[0].tolist()
        return (
            f"of its {weight.numel() // BLOCK} blocks of {BLOCK} weights, {len(full)} have more "
            f"than {KEPT} that are not zero, such as row {row}, inputs {BLOCK * block} to "
            f"{BLOCK * block + BLOCK - 1}"
        )
    return ""


def _check(place: torch.device) -> None:
    if place.type == "cuda" and torch.cuda.is_available():
        found = torch.cuda.get_device_capability(place)
        if found >= CAPABILITY:
            return
        told = f"{torch.cuda.get_device_name(place)} has {found[0]}.{found[1]}"
    else:
        told = f"the device is {place.type}" + (
            "" if torch.cuda.is_available() else ", and there is no CUDA here"
        )
    raise ValueError(
        "Sparse kernels for 2:4 need a CUDA device of compute capability 8.0 or newer: "
        f"{told}; pack_2_4 has the format."
    )
