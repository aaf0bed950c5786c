"""Reasons: why a network that had something taken out is no faster, as far as it was checked."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_prune import clock
from lightning_prune.evaluation.meter import Speed
from lightning_prune.evaluation.size import device_of
from lightning_prune.network.batches import batch_size, call
from lightning_prune.network.inputs import resized
from lightning_prune.network.network import Network
from lightning_prune.network.standalone import NORMS, Use, uses
from lightning_prune.network.untouched import untouched

FASTER = 1.05  # times as fast as dense: less may be noise
MULTIPLE = 8  # that kernels work in
TOLD = 0.01  # share of zeros that is worth a sentence
NAMED = 3
ROUNDS = 10


def speed_notes(
    rows: Sequence[Speed],
    dense: str = "dense",
    thin: str = "thin",
    *,
    models: Mapping[str, nn.Module] | None = None,
    example: Any = None,
) -> list[str]:
    """What did not get faster and why: a sentence each, with numbers, of reasons that were checked.

    Arguments:
        rows: Of `measure_speed`.
        dense: Name of the network that others are compared with.
        thin: Name of the one whose units were removed.
        models: By name, those measured; None: reasons that have to look into them stay unsaid.
        example: With them, a batch of inputs.
    """
    batches = sorted({row.batch for row in rows if row.name == dense})
    taken = {(row.name, row.batch): row.median_ms for row in rows}
    names = dict.fromkeys(row.name for row in rows if row.name != dense)
    told: list[str] = []
    for name in names:
        gained = {b: taken[dense, b] / taken[name, b] for b in batches if (name, b) in taken}
        slow = [batch for batch, times in gained.items() if times < FASTER]
        if not slow:
            continue
        told.append(_compared(name, dense, gained, slow))
        if len(slow) == len(gained) and models and example is not None:
            pair = [models.get(dense), models.get(name)]
            if all(isinstance(model, nn.Module) for model in pair):
                looked = [_look(model, example, slow[-1]) for model in pair if model is not None]
                told += _reasons(name, dense, thin in names, *looked)
    return told


def _compared(name: str, dense: str, gained: Mapping[int, float], slow: Sequence[int]) -> str:
    shown = ", ".join(f"{times:.2f} times at batch {batch}" for batch, times in gained.items())
    if len(slow) == len(gained):
        return f"{name} is not faster than {dense}: as fast {shown}"
    small = max(slow) < min(set(gained) - set(slow))
    why = ": the small batch leaves too little work for its removal to show" if small else ""
    return f"{name} is faster than {dense} at some batches only, as fast {shown}{why}"


@dataclass(frozen=True)
class _Look:
    """What is known of a network: multiply-adds, those of weights that are not 0, layers' uses."""

    model: nn.Module
    inputs: Any
    macs: int | None
    effective: int | None
    layers: Mapping[str, list[Use]]


def _look(model: nn.Module, example: Any, batch: int) -> _Look:
    inputs = resized(example, batch)
    run = functools.partial(call, model, inputs)
    network = Network(model, forward=run, samples=batch_size(inputs))
    graph = network.traced()
    effective = network.effective_macs(network.nonzeros()) if graph else None
    with untouched(model), torch.inference_mode(), uses(model) as layers:
        run()
    return _Look(model, inputs, graph.macs if graph else None, effective, layers)


def _reasons(name: str, dense: str, has_thin: bool, before: _Look, after: _Look) -> Iterator[str]:
    narrower = {
        layer: found
        for layer, found in after.layers.items()
        if layer in before.layers and found[0].weight != before.layers[layer][0].weight
    }
    if before.macs is not None and after.macs is not None and after.effective is not None:
        zeros = 1 - after.effective / max(after.macs, 1)
        if zeros > TOLD and not narrower:
            how = "the thin network is without those of whole units"
            how = how if has_thin else "lightning_prune.thinning takes out those of whole units"
            yield (
                f"{zeros:.0%} of the multiply-adds of {name} are with weights that are zero, which "
                f"dense kernels compute all the same; {how}"
            )
        elif after.macs >= before.macs:
            yield f"{name} has as many multiply-adds as {dense}: {after.macs:,} a sample"
    if narrower:
        yield from _outside(name, dense, narrower, before)
        yield from _odd(name, narrower, after)


def _outside(
    name: str, dense: str, narrower: Mapping[str, Sequence[Use]], before: _Look
) -> Iterator[str]:
    """The share of the dense network's time that is in no layer that got narrower."""
    device = device_of([before.model])
    layers = [use for layer in narrower for use in before.layers[layer]]
    with untouched(before.model), torch.inference_mode():
        sides = [use.side(*use.sizes) for use in layers]
        whole, *parts = clock.fastest(
            [functools.partial(call, before.model, before.inputs), *sides], ROUNDS, device
        )
    share = max(0.0, 1 - sum(parts) / whole)
    if share > 0.25:
        yield (
            f"{share:.0%} of the time of {dense} is outside of the {len(narrower)} layers that got "
            f"narrower in {name}, so that it could be {1 / share:.1f} times as fast at most"
        )


def _odd(name: str, narrower: Mapping[str, Sequence[Use]], after: _Look) -> Iterator[str]:
    """Layers whose odd widths cost as much time as the next multiples of 8."""
    odd = {layer: found[0] for layer, found in narrower.items() if _rounded(found[0]) is not None}
    if not odd:
        return
    sides = []
    with torch.inference_mode():
        for use in odd.values():
            sides += [use.side(*use.sizes), use.side(*(_rounded(use) or use.sizes))]
        seconds = clock.fastest(sides, ROUNDS, device_of([after.model]))
    ratios = dict(zip(odd, zip(seconds[::2], seconds[1::2], strict=True), strict=True))
    lost = {layer: small / wide for layer, (small, wide) in ratios.items() if small >= wide}
    if lost:
        shown = ", ".join(f"{n} ({_widths(odd[n].sizes)})" for n in list(lost)[:NAMED])
        yield (
            f"{len(lost)} of the {len(narrower)} narrower layers of {name} take as long as with "
            f"widths rounded up to multiples of {MULTIPLE}, or longer: {shown}"
            f"{', ...' if len(lost) > NAMED else ''}; round what is kept to {MULTIPLE}"
        )


def _rounded(use: Use) -> tuple[int, int] | None:
    """Its sizes up to the next multiples, where they are none; small ones stay as they are."""
    up = [-(-size // MULTIPLE) * MULTIPLE if size > MULTIPLE else size for size in use.sizes]
    if use.kind in NORMS or dict(use.settings).get("groups", 1) > 1:
        return None
    return (up[0], up[1]) if tuple(up) != use.sizes else None


def _widths(sizes: tuple[int, int]) -> str:
    return f"{sizes[0]} of {sizes[1]}"
