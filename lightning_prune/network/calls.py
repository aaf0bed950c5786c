"""Calls: one operator call, and what is known of the tensors in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_prune.network.grids import SPLIT, Grid
from lightning_prune.network.labels import Dims, Ids, Labels

if TYPE_CHECKING:
    from lightning_prune.network.trace import Trace

Latent = tuple[tuple[Ids, str], ...]  # labels, and why they cannot be followed


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a tensor in flight.

    Arguments:
        dims: Labels by dimension.
        source: Place among the held tensors of the one it is a view or cast of; None: computed.
        whole: The view shows every entry of its source.
        latent: Labels that it carries in no single dimension any more, and why. They have to
            stay as soon as something is computed from it; flat copies of all parameters, as
            adjoint methods make them, are often only handed on.
        grid: Labels of a dimension that was split, whose axes have no labels of their own yet.
    """

    dims: Dims
    source: int | None = None
    whole: bool = True
    latent: Latent = ()
    grid: Grid | None = None

    def __bool__(self) -> bool:
        carries = any(ids is not None for ids in self.dims) or self.grid is not None
        return carries or self.source is not None or bool(self.latent)

    @property
    def hidden(self) -> Latent:
        """Labels that no dimension has for its own, and why they would have to stay."""
        if self.grid is None:
            return self.latent
        return (*self.latent, (self.grid.whole.reshape(-1), SPLIT))


@dataclass(frozen=True, eq=False)
class Call:
    """One operator call, for the rule that says what becomes of the labels.

    Arguments:
        name: Of the operator, without namespace `aten`, overload and in-place underscore.
        func: The operator.
        arguments: By name, defaults filled in.
        inputs: Every tensor among the arguments.
        outputs: Every tensor that it returned.
        macs: Multiply-adds of the call.
        trace: The trace it belongs to.
    """

    name: str
    func: Any
    arguments: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]
    macs: int
    trace: Trace

    @property
    def labels(self) -> Labels:
        """Of the network."""
        return self.trace.labels

    def known(self, tensor: Tensor | None) -> Known:
        """What is known of an argument."""
        if tensor is None:
            return Known(())
        return self.trace.known(tensor) or Known((None,) * tensor.dim())

    def shown(self, tensors: Sequence[Tensor]) -> list[tuple[torch.Size, Dims]]:
        """Shape and labels of every tensor."""
        return [(tensor.shape, self.known(tensor).dims) for tensor in tensors]

    def pin(self, tensors: Sequence[Tensor], reason: str) -> None:
        """Say that every labelled dimension of these tensors has to stay."""
        for tensor in tensors:
            known = self.known(tensor)
            for ids in known.dims:
                self.labels.pin(ids, reason)
            if known.grid is not None:
                self.labels.pin(known.grid.whole.reshape(-1), reason)

    def use(self) -> None:
        """Something is computed from the arguments."""
        for tensor in self.inputs:
            for ids, reason in self.known(tensor).latent:
                self.labels.pin(ids, reason)

    def settle(self, tensor: Tensor, dim: int | None = None) -> Known:
        """Give a split dimension's labels to one of the tensor's dimensions.

        Arguments:
            tensor: An argument.
            dim: The dimension; None: the only one that can have them. Without one they stay.
        """
        known = self.known(tensor)
        grid = known.grid
        if grid is None:
            return known
        axis = grid.axis(dim) if dim is not None else None
        if dim is None and len(grid.shown) == 1:
            (axis,) = grid.shown
        dims = [*known.dims]
        if axis is None:
            self.labels.pin(grid.whole.reshape(-1), SPLIT)
        else:
            shown = grid.dims[axis]
            assert shown is not None
            dims[shown] = grid.collapsed(axis, self.labels)
        known = Known(tuple(dims), known.source, known.whole, known.latent)
        self.trace.learn(tensor, known)
        return known


Rules = list[Known | None]  # what is known of every output; fewer than outputs: nothing
Rule = Callable[[Call], Rules]


def in_backward() -> bool:
    """Whether autograd is running backwards, as it does inside of a continuous flow's forward."""
    return torch._C._current_graph_task_id() != -1


def operator_name(func: Any) -> str:
    """Name of an operator, `aten` and what says overload or in place left out."""
    full = func._schema.name if hasattr(func, "_schema") else str(func)
    name = full.removeprefix("aten::")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def bound_arguments(func: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name in the order of the operator's schema, defaults filled in."""
    if not hasattr(func, "_schema"):
        return {"args": args, "kwargs": kwargs}
    arguments = {}
    for place, (name, default) in enumerate(_signature(func)):
        arguments[name] = args[place] if place < len(args) else kwargs.get(name, default)
    return arguments


@cache
def _signature(func: Any) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of an operator's arguments."""
    return tuple(
        (argument.name, argument.default_value if argument.has_default_value() else None)
        for argument in func._schema.arguments
    )
