"""The meter: how fast several models are side by side, and how much memory each takes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_prune.clock import by_turns, threads as torch_threads
from lightning_prune.evaluation.memory import peak_bytes
from lightning_prune.evaluation.size import REPEATS, WARM_UP, device_of, state_bytes
from lightning_prune.network.batches import call, move
from lightning_prune.network.inputs import resized
from lightning_prune.network.untouched import untouched

Model = nn.Module | Callable[..., object]


@dataclass(frozen=True)
class Speed:
    """One model at one batch size.

    Arguments:
        name: Of the model.
        batch: Samples of a forward.
        median_ms: Milliseconds of one forward, the median of all rounds.
        low_ms: Their lower quartile.
        high_ms: Their upper quartile.
        samples_per_s: Samples in a second, by the median.
        memory_bytes: The most that a forward holds beside input and weights, see `peak_bytes`;
            None: not known (compiled models, other runtimes).
        weight_bytes: Of the tensors in the state dict; None: the model has none.
        device: Where it was measured.
        threads: Of torch, on the CPU.
    """

    name: str
    batch: int
    median_ms: float
    low_ms: float
    high_ms: float
    samples_per_s: float
    memory_bytes: int | None
    weight_bytes: int | None
    device: str
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """Numbers and strings only."""
        return dataclasses.asdict(self)


def measure_speed(
    models: Mapping[str, Model],
    example: Any,
    *,
    batches: Sequence[int] = (1, 16),
    repeats: int = REPEATS,
    threads: int = 1,
    device: str | torch.device | None = None,
) -> list[Speed]:
    """Measure models side by side: in eval mode, without gradients, round after round by turns.

    A round of a short forward is several calls. Compiled models run compiled; the warm-up
    compiles them.

    Arguments:
        models: By name: modules, or anything that can be called with the example. They stay as
            they are, and so do random streams.
        example: A batch of network inputs (a tensor, a tuple of arguments or a dict of them).
        batches: Samples of a forward; the example is repeated, or cut, to each of them.
        repeats: Rounds that count, at least 2.
        threads: Of torch.
        device: Where; modules that are elsewhere are copied there. None: where the modules are.

    Returns:
        A row a batch size and model, in the order given.

    Raises:
        ValueError: There is no model, or a number is out of its range.
    """
    _check(models, batches, repeats, threads)
    modules = [model for model in models.values() if isinstance(model, nn.Module)]
    place = device_of(modules) if device is None else torch.device(device)
    placed = {name: _placed(model, place) for name, model in models.items()}
    rows = []
    with torch_threads(threads), torch.inference_mode(), ExitStack() as stack:
        for model in placed.values():
            if isinstance(model, nn.Module):
                stack.enter_context(untouched(model))
        for batch in batches:
            inputs = move(resized(example, batch), place)
            sides = {name: _side(model, inputs) for name, model in placed.items()}
            with torch.compiler.set_stance("default"):
                taken = by_turns(list(sides.values()), repeats, place, WARM_UP)
            for (name, model), turns in zip(placed.items(), taken, strict=True):
                memory = peak_bytes(sides[name], place) if _seen(model) else None
                rows.append(_row(name, model, batch, turns, memory, place))
    return rows


def _check(models: Mapping[str, Model], batches: Sequence[int], repeats: int, threads: int) -> None:
    if not models:
        raise ValueError("There is no model to measure.")
    if not batches or min(batches) < 1:
        raise ValueError(f"batches are whole numbers from 1 on, not {list(batches)}.")
    if repeats < 2 or threads < 1:
        raise ValueError(
            f"A median and its spread take 2 repeats at least, and 1 thread, not repeats={repeats} "
            f"and threads={threads}."
        )


def _placed(model: Model, device: torch.device) -> Model:
    """The model on the device; a copy, where it is elsewhere."""
    if not isinstance(model, nn.Module):
        return model
    elsewhere = any(t.device.type != device.type for t in model.state_dict().values())
    return copy.deepcopy(model).to(device) if elsewhere else model


def _side(model: Model, inputs: Any) -> Callable[[], object]:
    if isinstance(model, nn.Module):
        return functools.partial(call, model, inputs)
    if isinstance(inputs, dict):
        return functools.partial(model, **inputs)
    return functools.partial(model, *(inputs if isinstance(inputs, tuple | list) else (inputs,)))


def _seen(model: Model) -> bool:
    """Whether every operator of the model can be watched: not so if it is compiled."""
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        return False
    return not any(
        getattr(part, "_compiled_call_impl", None) is not None or hasattr(part, "_orig_mod")
        for part in model.modules()
    )


def _row(
    name: str,
    model: Model,
    batch: int,
    turns: Sequence[float],
    memory: int | None,
    device: torch.device,
) -> Speed:
    low, median, high = (1e3 * q for q in statistics.quantiles(turns, n=4, method="inclusive"))
    return Speed(
        name=name,
        batch=batch,
        median_ms=median,
        low_ms=low,
        high_ms=high,
        samples_per_s=1e3 * batch / median,
        memory_bytes=memory,
        weight_bytes=state_bytes(model) if isinstance(model, nn.Module) else None,
        device=device.type,
        threads=torch.get_num_threads(),
    )
