"""Thinning: a masked network becomes a physically smaller one that computes the same."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from lightning_prune.lowrank import factored
from lightning_prune.network.batches import batch_size, call
from lightning_prune.network.copying import copied
from lightning_prune.network.groups import Group
from lightning_prune.network.heads import attention_layers
from lightning_prune.network.network import Network
from lightning_prune.thinning.dead import find_dead
from lightning_prune.thinning.proof import Reference
from lightning_prune.thinning.shrink import shrink
from lightning_prune.thinning.silent import silent
from lightning_prune.thinning.sizes import Sizes, changed, sizes_of


@dataclass(frozen=True, eq=False)
class Thinning:
    """A thinned model, and what became of it.

    Arguments:
        model: Smaller.
        removed: By group, (n_units,) bool: what left.
        stays: By layer, why filters that are zero stayed.
        error: Largest difference to the masked model on the example, as a share of the largest
            output.
        double: That was computed in float64; else in the model's own precision.
        params: Parameters before and after.
        seconds: Taken.
        sizes: By name of the module, its numbers that changed.
    """

    model: nn.Module
    removed: Mapping[Group, Tensor]
    stays: Mapping[str, str]
    error: float
    double: bool
    params: tuple[int, int]
    seconds: float
    sizes: Sizes

    @property
    def units(self) -> int:
        """That left."""
        return sum(int(flags.sum()) for flags in self.removed.values())


def thin(model: nn.Module, example_input: Any, *, inplace: bool = False) -> nn.Module:
    """Make a physically smaller model of a masked one: filters that are zero are taken out.

    Whole units leave: rows of every layer that makes them, their biases, entries of norms, and
    the columns of every layer that reads them. Residual additions, concatenations, depthwise and
    grouped convolutions, flattening, attention heads and the fields of ODEs and flows are followed
    in one traced forward. What a removed unit still passes on, a constant, goes into the bias of
    its readers where that is exact; elsewhere the unit stays. Single zero weights stay as they
    are: they make nothing smaller.

    The result is compared with the masked model in float64, on the example and in evaluation
    mode; units that a forward does not follow, because a size is written into it, stay, and a
    warning names layer and reason. Dropout aside, training goes on alike: removed units had no
    part in it.

    Arguments:
        model: Any module with zeros, as `prune` and `Pruning` leave it; or pruned elsewhere, if
            its masks were made permanent.
        example_input: A batch of network inputs: a tensor, a tuple of arguments or a dict of them.
        inplace: Change the model, not a copy. Optimizers have to be made anew then.

    Returns:
        The copy, or the model: a plain module, in the mode, dtype and device that it was in.

    Raises:
        ValueError: There is nothing to remove; a unit could not be removed and no other either;
            the forward fails on the example; or the model cannot be copied.
    """
    return thin_out(model, example_input, inplace=inplace).model


def thin_out(model: nn.Module, example_input: Any, *, inplace: bool = False) -> Thinning:
    """`thin`, with all that is to be said of it.

    Raises:
        ValueError: See `thin`.
    """
    started = time.perf_counter()
    if not inplace:
        model = copied(model)
    run = partial(call, model, example_input)
    before, numbers = _params(model), sizes_of(model)
    with trainable(model):
        network = Network(model, None, run, batch_size(example_input))
        graph = network.graph()
        layers = [*network.layers, *attention_layers(model)]
        groups = graph.groups(layers)
    reference = Reference(model, run)
    dead = find_dead(model, groups, reference.forward)
    done = shrink(dead, reference)
    removed = {g: f for g, f in dead.gone.items() if g not in done.refused and bool(f.any())}
    stays = silent(layers, graph, removed, dead, done.refused)
    if not removed:
        raise ValueError(_nothing(model, stays))
    for name, why in stays.items():
        warnings.warn(f"{name} keeps filters that are zero: {why}", stacklevel=3)
    return Thinning(
        model=model,
        removed=removed,
        stays=stays,
        error=done.error,
        double=reference.double,
        params=(before, _params(model)),
        seconds=time.perf_counter() - started,
        sizes=changed(numbers, sizes_of(model)),
    )


def _params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@contextmanager
def trainable(model: nn.Module) -> Iterator[None]:
    """Inside, no parameter is frozen: a model that is not trained on can be cut all the same."""
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _nothing(model: nn.Module, stays: Mapping[str, str]) -> str:
    kind = type(model).__name__
    if stays:
        told = "; ".join(f"{name}: {why}" for name, why in stays.items())
        return f"None of the filters of this {kind} that are zero can be removed ({told})."
    if any(True for _ in factored(model)):
        return (
            f"No filter of this {kind} is zero, so nothing can be removed; its layers are "
            "factored, and export_factors makes them smaller."
        )
    zeros = sum(int((p == 0).sum()) for p in model.parameters()) / max(_params(model), 1)
    single = (
        f": {zeros:.0%} of its parameters are zero, one by one, which makes nothing smaller or "
        "faster"
        if zeros > 0
        else ""
    )
    return (
        f"No filter of this {kind} is zero, so nothing can be removed{single}; prune it with a "
        "structured method such as filter_norm first."
    )
