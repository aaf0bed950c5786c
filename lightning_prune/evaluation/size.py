"""Size: what a network costs in numbers, multiply-adds, bytes and time."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.clock import by_turns, threads
from lightning_prune.network.batches import batch_size, call
from lightning_prune.network.network import Network
from lightning_prune.network.untouched import untouched

REPEATS = 30
WARM_UP = 5


Size = dict[str, int | float | None]


def measure_size(model: nn.Module, example: Any = None) -> Size:
    """What the network costs as it is, zeros and all.

    Arguments:
        model: A module in any state; it is left as it was.
        example: A batch of network inputs (a tensor, a tuple of arguments or a dict of them);
            None: what needs a forward stays None.

    Returns:
        With the keys

        - `params`, `nonzero`: entries of all parameters, and those that are not zero; shared
          parameters count once;
        - `macs`, `macs_effective`: multiply-adds of one sample's forward, and those whose weight
          is not zero, which dense kernels compute all the same; None: not traced;
        - `bytes`: of the tensors in the state dict, dense, as a checkpoint stores them;
        - `latency_ms`: median wall-clock time of one forward at batch 1, measured here on one
          thread; zeros do not make it shorter, removed units do.
    """
    return measure_sizes([model], example)[0]


def measure_sizes(models: Sequence[nn.Module], example: Any = None) -> list[Size]:
    """`measure_size` of several networks; their latencies are measured in turns."""
    sizes = [count_size(model, example) for model in models]
    if example is not None:
        latencies = measure_latency(models, first_sample(example))
        for size, latency in zip(sizes, latencies, strict=True):
            size["latency_ms"] = latency
    return sizes


def count_size(model: nn.Module, example: Any = None) -> Size:
    """`measure_size` without the latency, which stays None."""
    size: Size = {
        "params": sum(p.numel() for p in model.parameters()),
        "nonzero": sum(int(p.detach().count_nonzero()) for p in model.parameters()),
        "macs": None,
        "macs_effective": None,
        "bytes": state_bytes(model),
        "latency_ms": None,
    }
    if example is not None:
        samples = batch_size(example)
        network = Network(model, forward=lambda: call(model, example), samples=samples)
        graph = network.traced()
        if graph is not None:
            left = network.effective_macs(network.nonzeros())
            size |= {"macs": graph.macs, "macs_effective": left}
    return size


def state_bytes(model: nn.Module) -> int:
    """Bytes of the tensors in the state dict; tensors that share memory count once."""
    tensors = {
        (t.data_ptr(), t.numel(), t.dtype): t.numel() * t.element_size()
        for t in model.state_dict().values()
        if isinstance(t, Tensor)
    }
    return sum(tensors.values())


def measure_latency(
    models: Sequence[nn.Module], example: Any, repeats: int = REPEATS
) -> list[float]:
    """Median milliseconds of one forward of each model in eval mode, on one thread.

    The models take turns, so that whatever else the machine does meets all of them alike.

    Arguments:
        models: That take the example.
        example: A batch of network inputs.
        repeats: Timed forwards of each model, after a warm-up.
    """
    if not models:
        return []
    sides = [functools.partial(call, model, example) for model in models]
    with one_thread(), torch.inference_mode(), ExitStack() as stack:
        for model in models:
            stack.enter_context(untouched(model))
        taken = by_turns(sides, repeats, device_of(models), WARM_UP)
    return [1e3 * statistics.median(turns) for turns in taken]


def one_thread() -> AbstractContextManager[None]:
    """One thread of torch inside, as many as before outside."""
    return threads(1)


def device_of(models: Sequence[nn.Module]) -> torch.device:
    """The accelerator that one of the models is on, else the CPU."""
    found = [p.device for model in models for p in model.parameters()]
    return next((device for device in found if device.type != "cpu"), torch.device("cpu"))


def first_sample(example: Any) -> Any:
    """The batch of the first sample only."""
    if isinstance(example, Tensor):
        return example[:1]
    if isinstance(example, dict):
        return {name: first_sample(entry) for name, entry in example.items()}
    if isinstance(example, list | tuple):
        return tuple(first_sample(entry) for entry in example)
    return example
