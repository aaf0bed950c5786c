"""Proof: what a model computed before and after a cut is the same, or which part is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.network.graph import tensors_in
from lightning_prune.network.untouched import untouched
from lightning_prune.thinning.double import in_double

SEED = 0  # of what a forward draws, on both sides
DOUBLE = 1e-10  # largest difference in float64, as a share of the largest output
ROUNDINGS = 1e3  # and in the model's own precision, in units of its last place


class Reference:
    """What a model computes as it is now.

    The forward runs in float64, and in the model's own precision if it cannot.

    Arguments:
        model: Before the cut.
        run: Runs it once on an example.

    Raises:
        ValueError: The forward gives no tensor, or none of finite numbers.
    """

    def __init__(self, model: nn.Module, run: Callable[[], Any]) -> None:
        self.model, self._run = model, run
        self.double = True
        try:
            self.outputs = self._outputs()
        except RuntimeError:  # a forward that makes tensors of a type of its own
            self.double = False
            self.outputs = self._outputs()
        if not self.outputs:
            raise ValueError("The model's forward gives no tensor, so nothing can be compared.")
        if not all(bool(output.isfinite().all()) for output in self.outputs):
            raise ValueError("The model's outputs are not finite on the example.")

    def tolerance(self, rounded: bool = False) -> float:
        """Largest share of the largest output that two equal models differ by.

        Arguments:
            rounded: Some of the model's parameters were changed and rounded to its precision.
        """
        dtype = next(self.model.parameters()).dtype
        own = ROUNDINGS * torch.finfo(dtype).eps if dtype.is_floating_point else DOUBLE
        if self.double and not (rounded and dtype != torch.float64):
            return DOUBLE
        return own

    def forward(self) -> Any:
        """Run the model as it is now; modes and streams are the caller's business."""
        with in_double(self.model) if self.double else nullcontext():
            torch.manual_seed(SEED)
            return self._run()

    def error(self) -> float:
        """The largest difference to the model as it is now, as a share of the largest output."""
        return difference(self.outputs, self._outputs())

    def modules(self) -> tuple[dict[str, list[Tensor]], str | None, str]:
        """What every module computes now, in the order in which they end.

        Returns:
            By name, the outputs of its first call; the module in which the forward failed, if it
            did; and what it said.
        """
        seen: dict[str, list[Tensor]] = {}
        open_calls: list[str] = []

        def close(name: str) -> Any:
            def see(_: nn.Module, __: Any, output: Any) -> None:
                open_calls.pop()
                seen.setdefault(name, [t.detach().clone() for t in tensors_in(output)])

            return see

        handles = []
        for name, module in self.model.named_modules():
            push = lambda *_, name=name: open_calls.append(name)  # noqa: E731
            handles.append(module.register_forward_pre_hook(push))
            handles.append(module.register_forward_hook(close(name)))
        try:
            self._outputs()
        except Exception as error:
            return seen, open_calls[-1] if open_calls else "", f"{type(error).__name__}: {error}"
        finally:
            for handle in handles:
                handle.remove()
        return seen, None, ""

    def _outputs(self) -> list[Tensor]:
        with untouched(self.model):
            result = self.forward()
        return [t.detach().clone() for t in tensors_in(result) if t.is_floating_point()]


def difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """Largest difference as a share of the largest entry; infinite where shapes differ."""
    if [t.shape for t in expected] != [t.shape for t in found]:
        return float("inf")
    worst = 0.0
    for one, other in zip(expected, found, strict=True):
        if one.numel():
            scale = float(one.abs().max()) or 1.0
            gap = float((one - other).abs().max())
            worst = max(worst, gap / scale if gap == gap else float("inf"))
    return worst
