"""Constants: what units without input pass on to the layers that read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.untouched import untouched

ALIKE = 1e-5  # two values of one constant differ by their rounding, as a share of it


def reader_slices(group: Group) -> Iterator[Slice]:
    """The columns of plain layers that read the units."""
    for part in group.slices:
        plain = isinstance(part.module, nn.Linear | _ConvNd) and part.tensor == "weight"
        transposed = isinstance(part.module, _ConvTransposeNd)
        if plain and not transposed and part.dim == 1 and getattr(part.module, "groups", 1) == 1:
            yield part


def read_constants(
    model: nn.Module, readers: Iterable[nn.Module], run: Callable[[], Any]
) -> Mapping[nn.Module, Tensor]:
    """By reader, (inputs,): the value of each input, NaN where it is not always the same.

    Arguments:
        model: The network; it is left as it was.
        readers: Linear layers and convolutions in it.
        run: Runs it once on an example.
    """
    low: dict[nn.Module, Tensor] = {}
    high: dict[nn.Module, Tensor] = {}

    def see(module: nn.Module, args: tuple) -> None:
        spatial = len(module.kernel_size) if isinstance(module, _ConvNd) else 0
        columns = args[0].detach().movedim(-1 - spatial, 0).flatten(1)
        least, most = columns.aminmax(dim=1)
        low[module] = torch.minimum(low.get(module, least), least)
        high[module] = torch.maximum(high.get(module, most), most)

    handles = [module.register_forward_pre_hook(see) for module in set(readers)]
    try:
        with untouched(model):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return {
        module: torch.where(most - low[module] <= ALIKE * most.abs(), most, torch.nan)
        for module, most in high.items()
    }


def holds_constants(module: Any) -> bool:
    """Whether a constant input adds the same to every output, and there is a bias to hold it."""
    if module.bias is None or not module.bias.requires_grad:
        return False
    return not pads_zeros(module)


def pads_zeros(module: Any) -> bool:
    """Whether the layer reads zeros round its input, where a constant is none."""
    if isinstance(module, nn.Linear):
        return False
    return any(module._reversed_padding_repeated_twice) and module.padding_mode == "zeros"
