"""Memory: the bytes of tensors that a forward holds at once, beside the weights."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """The most bytes that a run holds at once, of what it allocates itself.

    On CUDA what the allocator counts, scratch space of kernels included. On the CPU the storages
    of tensors that operators make, from there until nobody holds them; scratch space inside of an
    operator is not seen, nor is what runs outside of torch. The input and the weights do not
    count on either.

    Arguments:
        run: Runs a network once; what it returns is dropped.
        device: That it works on.

    Returns:
        None on other accelerators.
    """
    if device.type == "cuda":
        run()  # libraries allocate at their first call what they keep
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    with _Held() as held:
        run()
    return held.peak


class _Held(TorchDispatchMode):
    """Counts the bytes of storages that are made inside, and gives them back as they die."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):  # of the caller, or counted already
            self._known.add(tensor.untyped_storage())
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if storage not in self._known:
                self._known.add(storage)
                self._count(storage)
        self.peak = max(self.peak, self.now)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.now += size
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


def _tensors(values: object) -> list[Tensor]:
    return [
        leaf
        for leaf in tree_leaves(values)
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided
    ]
