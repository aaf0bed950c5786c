"""The trace: every operator of one forward, with labels on the tensors in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lightning_prune.network.calls import Call, Known, Rule, bound_arguments, operator_name
from lightning_prune.network.grids import SPLIT
from lightning_prune.network.labels import Held, Ids, Labels, is_free

Key = tuple[Any, ...]


class Trace(TorchDispatchMode):
    """Follows the labels of a network's parameters through the operators of a forward.

    Tensors are recognised by memory and geometry, which survive what autograd saves and hands
    back, and are kept alive until the trace ends.

    Arguments:
        labels: Of the network.
        rule: (call) -> the rule of an operator.
    """

    supports_higher_order_operators = True

    def __init__(self, labels: Labels, rule: Callable[[Call], Rule]) -> None:
        super().__init__()
        self.labels = labels
        self.macs = 0
        self.work: Counter[int] = Counter()  # multiply-adds by held tensor, over the whole batch
        self.calls: Counter[int] = Counter()
        self._rule = rule
        self._table: dict[Key, tuple[Known, Tensor]] = {}
        self._views: Counter[int] = Counter()
        for place, held in enumerate(labels.held):
            self._hold(place, held)

    def known(self, tensor: Tensor) -> Known | None:
        """What is known of a tensor; None: nothing is labelled."""
        key = _key(tensor)
        found = self._table.get(key) if key is not None else None
        return found[0] if found else None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, "_overloadpacket", None)
        if packet is not None and packet not in flop_registry and _is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        macs = 0
        if packet in flop_registry:
            macs = int(flop_registry[packet](*args, **kwargs, out_val=out)) // 2
            self.macs += macs
        arguments = bound_arguments(func, args, kwargs)
        inputs = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self._follow(Call(operator_name(func), func, arguments, inputs, outputs, macs, self))
        return out

    def _follow(self, call: Call) -> None:
        rule = self._rule(call)
        results = list(rule(call))
        results += [None] * (len(call.outputs) - len(results))
        for tensor, known in zip(call.outputs, results, strict=True):
            before = self.known(tensor)
            if before is not None:
                known = self._rewritten(call, tensor, before, known)
            self.learn(tensor, known or Known(()))

    def _rewritten(self, call: Call, tensor: Tensor, before: Known, after: Known | None) -> Known:
        """What is known of memory that an operator wrote in place, or handed on."""
        after = after or Known((None,) * tensor.dim())
        dims: list[Ids | None] = []
        for old, new in zip(before.dims, after.dims, strict=True):
            if old is None or new is None or is_free(old):
                if new is not None and not is_free(new) and self._shared(tensor):
                    # other views of the memory would still carry the labels it had before
                    self.labels.pin(new, f"{call.name} writes them into a larger tensor in place")
                dims.append(new)
            else:
                dims.append(self.labels.merge(old, new, call.name))
        if before.source is not None and after.source is None:
            self._pin_held(before.source, f"{call.name} changes the weight in the forward")
        if after.grid is not None and before.grid is None and self._shared(tensor):
            self.labels.pin(after.grid.whole.reshape(-1), SPLIT)
        return Known(tuple(dims), after.source, after.whole, after.latent, after.grid)

    def _hold(self, place: int, held: Held) -> None:
        before = self.known(held.value)
        self.learn(held.value, Known(held.dims, place))
        if before is not None and before.source is not None:
            other = self.labels.held[before.source].qualified
            for same in (place, before.source):
                self._pin_held(same, f"{held.qualified} and {other} share their memory")

    def _pin_held(self, place: int, reason: str) -> None:
        for ids in self.labels.held[place].dims:
            self.labels.pin(ids, reason)

    def _shared(self, tensor: Tensor) -> bool:
        return self._views[tensor.untyped_storage()._cdata] > 1

    def learn(self, tensor: Tensor, known: Known) -> None:
        """Note what is known of a tensor."""
        key = _key(tensor)
        if key is None:
            for ids in (*known.dims, *(hidden for hidden, _ in known.hidden)):
                self.labels.pin(ids, "a tensor without plain memory carries them")
        elif known:
            self._views[key[0]] += key not in self._table
            self._table[key] = (known, tensor)
        elif key in self._table:
            self._views[key[0]] -= 1
            del self._table[key]


@contextmanager
def plain_operators(model: nn.Module) -> Iterator[None]:
    """Run compiled and fused parts operator by operator, so that a trace sees their products."""
    attention = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(torch.backends.mha.set_fastpath_enabled, attention)
        torch.backends.mha.set_fastpath_enabled(False)
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            for backend in (torch.backends.mkldnn, torch.backends.cudnn):
                stack.callback(backend.set_flags, backend.set_flags(False)[0])
        yield


@cache
def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _key(tensor: Tensor) -> Key | None:
    if tensor.layout != torch.strided:
        return None
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
