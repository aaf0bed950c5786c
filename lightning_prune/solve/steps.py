"""Fixed steps: plain arithmetic on tensors, which `torch.compile` takes as a whole."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

Velocity = Callable[[Tensor, Tensor], Tensor]


def euler(f: Velocity, t: Tensor, x: Tensor, h: float) -> Tensor:
    """A step of first order."""
    return x + h * f(t, x)


def midpoint(f: Velocity, t: Tensor, x: Tensor, h: float) -> Tensor:
    """A step of second order."""
    return x + h * f(t + h / 2, x + h / 2 * f(t, x))


def rk4(f: Velocity, t: Tensor, x: Tensor, h: float) -> Tensor:
    """A step of fourth order, with stages at t, t + h/2 (twice) and t + h."""
    k1 = f(t, x)
    k2 = f(t + h / 2, x + h / 2 * k1)
    k3 = f(t + h / 2, x + h / 2 * k2)
    k4 = f(t + h, x + h * k3)
    return x + h / 6 * (k1 + 2 * (k2 + k3) + k4)


COMPILERS = ("g++", "clang++", "cl")
STEPS = {"euler": euler, "midpoint": midpoint, "rk4": rk4}


def make_step(field: Any, method: str, h: float) -> Callable[..., Tensor]:
    """(s, x, start, span, *context) -> the state a step later, on the unit interval."""
    step = STEPS[method]

    def take(s: Tensor, x: Tensor, start: Tensor, span: Tensor, *context: Any) -> Tensor:
        return step(lambda s, x: span * field(start + s * span, x, *context), s, x, h)

    return take


class CompiledSteps:
    """The compiled steps of one field; copies and pickles of the field begin without."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, float], Callable[..., Tensor]] = {}

    def __reduce__(self) -> Any:
        return CompiledSteps, ()

    def get(self, field: nn.Module, method: str, h: float) -> Callable[..., Tensor]:
        """The compiled step, made at the first call."""
        if (method, h) not in self._made:
            step = _with_own_code(make_step(field, method, h))
            self._made[method, h] = torch.compile(step, dynamic=False)
        return self._made[method, h]


def _with_own_code(function: Any) -> Any:
    """The same function: torch counts compilations by code, and gives up after a few."""
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, closure=function.__closure__)


def step_of(field: Any, method: str, h: float, compiled: bool) -> Callable[..., Tensor]:
    """A step, compiled if that is asked for and nobody listens to the field's modules.

    Without a C++ compiler it is the same step, slower, and one warning says so.
    """
    wanted = compiled and isinstance(field, nn.Module) and not _is_watched(field)
    if not wanted or not _has_compiler():
        return make_step(field, method, h)
    if "_compiled_steps" not in vars(field):
        vars(field)["_compiled_steps"] = CompiledSteps()
    return vars(field)["_compiled_steps"].get(field, method, h)


@cache
def _has_compiler() -> bool:
    found = any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), *COMPILERS))
    if not found:
        warnings.warn(
            "There is no C++ compiler, which compiled=True takes (install g++, or set CXX); the "
            "solver's steps are not compiled, which is slower and changes no result.",
            stacklevel=2,
        )
    return found


def _is_watched(field: nn.Module) -> bool:
    # compiled code does not call hooks that came after it
    return any(m._forward_pre_hooks or m._forward_hooks for m in field.modules())
