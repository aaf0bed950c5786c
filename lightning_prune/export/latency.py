"""Latency: whether the two layers of a sliced one are faster than the dense layer, as measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_prune.clock import fastest
from lightning_prune.export.factors import split
from lightning_prune.export.layers import convolution, linear, plain_kind
from lightning_prune.lowrank import factored, factors_of, folding_of
from lightning_prune.network.layers import plain_name


@dataclass(frozen=True)
class LayerSpeed:
    """One sliced layer.

    Arguments:
        name: Of the layer.
        slices: Into which its channels are cut.
        rank: Of every slice.
        speedup: Time of the dense layer by that of the two that it becomes; below 1 it got slower.
        device: Where it was measured.
        batch: Samples of a call.
    """

    name: str
    slices: int
    rank: int
    speedup: float
    device: str
    batch: int


def slower_layers(
    model: nn.Module, maps: Mapping[str, tuple[int, ...]], batch: int = 16, repeats: int = 5
) -> list[LayerSpeed]:
    """Measure every layer that is factored in several slices, which is where time can be lost.

    Both sides run by turns, without gradients, with the threads that torch has now.

    Arguments:
        model: Factored; it stays as it is, and so do random streams.
        maps: By name of the layer, the size of the maps that it reads, `(height, width)`; `()` of
            a linear layer, or what its inputs have between batch and features. Layers that it
            lacks are left out, as are those that cannot be exported.
        batch: Samples of a call.
        repeats: Rounds, of which the fastest counts.

    Returns:
        All that were measured, the slowest first.

    Raises:
        ValueError: `batch` or `repeats` is not positive, or a layer's maps are of another kind.
    """
    if batch < 1 or repeats < 1:
        raise ValueError(f"batch and repeats are positive, not {batch} and {repeats}.")
    rows = []
    for full, layer in factored(model):
        name, folding = plain_name(full), folding_of(layer)
        if folding is None or folding.slices == 1 or name not in maps:
            continue
        inputs = _inputs(name, layer, tuple(maps[name]), batch)
        try:
            pair: Any = split(layer)
        except ValueError:
            continue
        dense, rank = _dense(layer), factors_of(layer)[1].shape[1] // folding.slices
        with torch.inference_mode():
            taken = fastest([lambda: dense(inputs), lambda: pair(inputs)], repeats, inputs.device)  # noqa: B023
        speedup = taken[0] / taken[1]
        rows.append(LayerSpeed(name, folding.slices, rank, speedup, inputs.device.type, batch))
    return sorted(rows, key=lambda row: row.speedup)


def input_sizes(model: nn.Module, run: Callable[[], object]) -> dict[str, tuple[int, ...]]:
    """By name of every factored layer, the size of the maps that it reads when the model runs.

    Arguments:
        model: Factored.
        run: Runs it once.
    """
    sizes: dict[str, tuple[int, ...]] = {}

    def see(name: str, layer: nn.Module) -> Any:
        linear = isinstance(layer, nn.Linear)
        return lambda _, args: sizes.update(
            {name: tuple(args[0].shape[1:-1] if linear else args[0].shape[2:])}
        )

    handles = [
        layer.register_forward_pre_hook(see(plain_name(name), layer))
        for name, layer in factored(model)
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def tell(rows: list[LayerSpeed]) -> str:
    """One sentence on the rows; the empty string where nothing was measured."""
    if not rows:
        return ""
    slower = [row for row in rows if row.speedup < 1]
    named = ", ".join(
        f"{row.name} ({row.slices} slices, {row.speedup:.2f} times as fast)" for row in slower
    )
    return (
        f"slices make {len(slower) or 'none'} of {len(rows)} sliced layers slower than dense on "
        f"this {rows[0].device} (batch {rows[0].batch}, one call){': ' if named else ''}{named}"
    )


def _inputs(name: str, layer: nn.Module, size: tuple[int, ...], batch: int) -> Tensor:
    weight = cast("Tensor", layer.weight)
    spatial = weight.dim() - 2
    if spatial and len(size) != spatial:
        raise ValueError(f"The layer {name!r} reads maps of {spatial} axes, not {size}.")
    shape = (batch, layer.in_channels, *size) if spatial else (batch, *size, layer.in_features)
    own = torch.Generator(weight.device).manual_seed(0)
    return torch.randn(cast("Any", shape), generator=own, device=weight.device, dtype=weight.dtype)


def _dense(layer: nn.Module) -> nn.Module:
    """The dense layer that a factored one stands for, without gradients."""
    weight = nn.Parameter(cast("Tensor", layer.weight).detach(), requires_grad=False)
    if plain_kind(layer) is nn.Linear:
        return linear(weight, cast("Any", layer.bias))
    like = cast("Any", layer)
    return convolution(like, weight, like.bias, like.groups, [True] * len(like.kernel_size))
