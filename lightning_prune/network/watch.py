"""Watching: show layers to a criterion while the network works on batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.network.batches import batch_size
from lightning_prune.network.layers import Layer, LayerFilter, plain_name

Observe = Callable[[Layer, Tensor], None]
ObserveGradient = Callable[[Layer, Tensor, int], None]
Run = Callable[[Any, int], Any]


def watch_inputs(
    layers: Sequence[Layer], observe: Observe, batches: Iterable[Any], run: Run
) -> None:
    """Show every input of every layer, call by call.

    Arguments:
        layers: Watched.
        observe: Gets a layer and what it was called with, detached.
        batches: Any iterable; it is iterated here, so that a caller's guard covers it.
        run: (batch, index) -> anything; runs the network.

    Raises:
        ValueError: A layer was never called.
    """
    reached: set[str] = set()
    handles = []

    def show(layer: Layer) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple, kwargs: dict) -> None:
            reached.add(layer.name)
            value = args[0] if args else next(iter(kwargs.values()))
            observe(layer, value.detach())

        return hook

    try:
        for layer in layers:
            handles.append(layer.module.register_forward_pre_hook(show(layer), with_kwargs=True))
        with torch.no_grad():
            for index, batch in enumerate(batches):
                run(batch, index)
    finally:
        for handle in handles:
            handle.remove()
    _check_reached(layers, reached)


def check_readable(model: nn.Module, layers: Sequence[Layer], chosen: LayerFilter) -> None:
    """Refuse modules whose weights are used where no hook sees with what.

    Arguments:
        model: The network.
        layers: To be watched.
        chosen: Modules that it leaves out are not asked for.

    Raises:
        ValueError: A chosen layer is the projection of an `nn.MultiheadAttention`, or an LSTM or
            a GRU is not left out; it is named.
    """
    within = {id(layer.module) for layer in layers}
    for name, module in model.named_modules():
        attention = isinstance(module, nn.MultiheadAttention) and id(module.out_proj) in within
        recurrent = isinstance(module, nn.LSTM | nn.GRU) and chosen(plain_name(name), module)
        if attention or recurrent:
            name = plain_name(name)
            raise ValueError(
                f"What the weights of {name!r} ({type(module).__name__}) are multiplied with "
                f"cannot be watched; leave it out with LayerFilter(exclude={name + '*'!r})."
            )


def watch_gradients(
    layers: Sequence[Layer], observe: ObserveGradient, batches: Iterable[Any], loss: Run
) -> None:
    """Show the gradient of the loss of every batch with respect to every layer's weight.

    One forward and one backward a batch serve all layers; `.grad` is neither read nor written.

    Arguments:
        layers: Watched.
        observe: Gets a layer, the gradient in the weight's shape (float32 where the weight is
            narrower), and the number of samples in the batch.
        batches: Any iterable; it is iterated here, so that a caller's guard covers it.
        loss: (batch, index) -> scalar tensor.

    Raises:
        ValueError: The loss does not depend on a layer, or is no scalar with a gradient.
    """
    reached: set[str] = set()
    weights = [layer.parameter for layer in layers]
    for index, batch in enumerate(batches):
        with torch.enable_grad():
            value = loss(batch, index)
            if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
                raise ValueError("The loss of a batch must be one number with a gradient.")
            grads = torch.autograd.grad(value.sum(), weights, allow_unused=True)
        for layer, grad in zip(layers, grads, strict=True):
            if grad is not None:
                reached.add(layer.name)
                observe(layer, _widened(grad.detach()), batch_size(batch))
    _check_reached(layers, reached)


def _widened(grad: Tensor) -> Tensor:
    """In float32 at least: sums over batches lose what half precision cannot hold."""
    return grad.float() if grad.dtype in (torch.bfloat16, torch.float16) else grad


def _check_reached(layers: Sequence[Layer], reached: set[str]) -> None:
    missed = [layer.name for layer in layers if layer.name not in reached]
    if missed:
        raise ValueError(
            f"No batch reached {', '.join(map(repr, missed))}, so nothing is known of them; leave "
            f"them out with exclude={missed!r}."
        )
