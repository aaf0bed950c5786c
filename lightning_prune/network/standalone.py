"""Standalone layers: what a layer was called with, and the same layer alone at other widths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lightning_prune.network.layers import plain_name

CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
KINDS = (nn.Linear, *CONVOLUTIONS, *NORMS)


@dataclass(frozen=True)
class Use:
    """One call of a layer; layers that are used alike cost alike.

    Arguments:
        kind: Class of the layer.
        weight: Shape of its weight.
        inputs: Shape of what it was called with.
        settings: All else that its constructor takes, as sorted pairs.
        dtype: Of its weight.
        device: Of its weight.
        channels_last: Its maps lie in memory with their channels together.
    """

    kind: type[nn.Module]
    weight: tuple[int, ...]
    inputs: tuple[int, ...]
    settings: tuple[tuple[str, Any], ...]
    dtype: torch.dtype
    device: torch.device
    channels_last: bool

    @property
    def sizes(self) -> tuple[int, int]:
        """Of the weight's first two dimensions; 1 for a second that has no width of its own."""
        groups = dict(self.settings).get("groups", 1)
        plain = self.kind not in NORMS and groups == 1
        return self.weight[0], self.weight[1] if plain else 1

    def side(self, rows: int, columns: int) -> Callable[[], object]:
        """A call of a new layer whose weight has these sizes, with inputs that go with it.

        Its numbers are drawn from a stream of their own: what happens to lie in memory may hold
        subnormal numbers, which are slower.
        """
        layer, channels = self._built(rows, columns)
        stream = torch.Generator(self.device).manual_seed(0)
        for value in (*layer.parameters(), *layer.buffers()):
            if value.is_floating_point():
                value.data.normal_(generator=stream).abs_()
        shape = list(self.inputs)
        shape[self._channel_axis()] = channels
        x = torch.empty(shape, dtype=self.dtype, device=self.device).normal_(generator=stream)
        if self.channels_last:
            layer.to(memory_format=torch.channels_last)
            x = x.to(memory_format=torch.channels_last)
        return functools.partial(layer.eval().requires_grad_(False), x)

    def _built(self, rows: int, columns: int) -> tuple[nn.Module, int]:
        """The layer and the number of its input channels."""
        settings: dict[str, Any] = dict(self.settings)
        if self.kind in NORMS:
            channels, made = rows, None  # a norm makes as many as it reads
        elif (groups := settings.get("groups", 1)) > 1:
            # a group's rows leave together, and it keeps its size
            settings["groups"] = max(1, rows * groups // self.weight[0])
            own = self.weight[0] // groups * settings["groups"]
            other = self.weight[1] * settings["groups"]
            channels, made = (own, other) if self._transposed else (other, own)
        else:
            channels, made = (rows, columns) if self._transposed else (columns, rows)
        sizes = [channels] if made is None else [channels, made]
        layer = nn.utils.skip_init(
            self.kind, *sizes, **settings, dtype=self.dtype, device=str(self.device)
        )
        return layer, channels

    @property
    def _transposed(self) -> bool:
        return issubclass(self.kind, _ConvTransposeNd)

    def _channel_axis(self) -> int:
        if self.kind is nn.Linear:
            return -1
        spatial = len(self.weight) - 2 if self.kind not in NORMS else len(self.inputs) - 2
        return len(self.inputs) - spatial - 1


@contextmanager
def uses(model: nn.Module) -> Iterator[dict[str, list[Use]]]:
    """Inside, every call of a linear layer, convolution or batch norm is noted.

    Yields:
        By name of the layer, its calls.
    """
    found: dict[str, list[Use]] = {}

    def hook(name: str) -> Any:
        def see(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            found.setdefault(name, []).append(use(module, x))

        return see

    handles = [
        module.register_forward_pre_hook(hook(plain_name(name)), with_kwargs=True)
        for name, module in model.named_modules()
        if _kind(module) is not None and module._parameters.get("weight") is not None
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def use(module: nn.Module, x: Tensor) -> Use:
    """What a call of the module with `x` is."""
    kind, weight = _kind(module), module._parameters["weight"]
    assert kind is not None
    assert weight is not None
    bias = module._parameters.get("bias") is not None
    settings: dict[str, Any] = {"bias": bias}
    if isinstance(module, _ConvNd):
        names = ["kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
        names += ["output_padding"] * isinstance(module, _ConvTransposeNd)
        settings |= {name: getattr(module, name) for name in names}
    if kind in NORMS:
        settings = {"track_running_stats": getattr(module, "running_mean", None) is not None}
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return Use(
        kind=kind,
        weight=tuple(weight.shape),
        inputs=tuple(x.shape),
        settings=tuple(sorted(settings.items())),
        dtype=weight.dtype,
        device=weight.device,
        channels_last=last and not x.is_contiguous(),
    )


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """Its class among ours; None: what widths do to a forward of its own is not known."""
    kinds = (kind for kind in KINDS if isinstance(module, kind))
    return next((kind for kind in kinds if type(module).forward is kind.forward), None)
