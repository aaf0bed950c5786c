"""Maps: how many places convolutions read at and write to in one forward."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lightning_prune.network.layers import plain_name

Sizes = dict[str, Counter[tuple[bool, ...]]]


@contextmanager
def map_sizes(model: nn.Module) -> Iterator[Sizes]:
    """Inside, every call of a convolution is counted.

    Yields:
        By name of the layer and by spatial axis, True for the output's size and False for the
        input's: their product, summed over samples and calls.
    """
    sizes: Sizes = defaultdict(Counter)

    def see(name: str, axes: int, inputs: Tensor, output: Any) -> None:
        samples = output.shape[0] if output.dim() == axes + 2 else 1
        pairs = list(zip(inputs.shape[-axes:], output.shape[-axes:], strict=True))
        for owned in itertools.product((False, True), repeat=axes):
            extent = math.prod(pair[of] for pair, of in zip(pairs, owned, strict=True))
            sizes[name][owned] += samples * extent

    def hook(name: str, axes: int) -> Any:
        return lambda _, args, kwargs, out: see(
            name, axes, args[0] if args else kwargs["input"], out
        )

    handles = [
        module.register_forward_hook(
            hook(plain_name(name), len(module.kernel_size)), with_kwargs=True
        )
        for name, module in model.named_modules()
        if isinstance(module, _ConvNd) and not isinstance(module, _ConvTransposeNd)
    ]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()
