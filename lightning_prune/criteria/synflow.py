"""SynFlow: how much of a network's synaptic flow runs through a weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map

from lightning_prune.criteria.base import SyntheticCriterion
from lightning_prune.network.layers import Layer
from lightning_prune.structures.base import Structure

_SCALES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
# gated units halve what they are given, and attention is no function of single entries
_IDENTITIES = tuple(
    getattr(activation, name)
    for name in activation.__all__
    if name not in ("GLU", "MultiheadAttention")
)


@dataclass(frozen=True)
class SynFlow(SyntheticCriterion):
    r"""Synaptic flow: :math:`|w| \, \partial \log R / \partial |w|` of one weight.

    :math:`R = 1^T \prod_l |W_l| \, 1` is the sum of the outputs for an input of ones when every
    weight is its absolute value and the network is linear: activations are the identity, norms
    are their scale (with the running variance), biases and other shifts are left out.

    The scores of a layer that all of the flow has to pass sum to 1, whatever the batch. Those of a
    wide layer are small, so that one cut may empty it, and after each of many small cuts what is
    left of it scores more: SynFlow is for many events before training, by `prune` in a loop, or as
    in `Geometric(first=0, every=1, events=100, keep=0.01, unit="step")`, with a step of training
    between two events.

    Needs no data, no labels and no loss, only the shapes of an input. It works in float64, and
    the logarithm keeps gradients in range in networks of any depth. Activations and norms are
    those of torch's modules; functional ones are left as they are, where rectifiers do no harm.

    References:
        | Pruning neural networks without any data by iteratively conserving synaptic flow
        | (Tanaka et al., 2020), https://arxiv.org/abs/2006.05467
    """

    @contextmanager
    def altered(self, model: nn.Module) -> Iterator[None]:
        """Absolute weights, no shifts, linear activations, and inputs of ones.

        Tensors get other data for the time inside and the very same memory back afterwards.
        """
        tensors = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
        kept = [(tensor, tensor.data) for tensor in tensors]
        replaced: list[tuple[nn.Module, Any]] = []
        hook = model.register_forward_pre_hook(_ones, with_kwargs=True)
        try:
            for tensor, data in kept:
                tensor.data = data.double().abs()
            for module in model.modules():
                if isinstance(module, nn.Linear | _ConvNd) and module.bias is not None:
                    module.bias.data = torch.zeros_like(module.bias.data)
                linear = _linear(module)
                if linear is not None:
                    replaced.append((module, module.__dict__.get("forward")))
                    module.__dict__["forward"] = linear
            yield
        finally:
            hook.remove()
            for module, own in replaced:
                del module.__dict__["forward"]
                if own is not None:
                    module.__dict__["forward"] = own
            for tensor, data in kept:
                tensor.data = data

    def objective(self, outputs: Any) -> Tensor:
        """The logarithm of R.

        Raises:
            ValueError: Nothing flows, or the outputs are not finite.
        """
        flows = [o for o in tree_leaves(outputs) if isinstance(o, Tensor) and o.requires_grad]
        total = sum((flow.double().sum() for flow in flows), torch.zeros((), dtype=torch.float64))
        if not (total > 0 and total.isfinite()):
            raise ValueError(
                f"SynFlow finds a flow of {float(total.detach()):g} from inputs to outputs, and "
                "needs a positive one: a layer is all zero, or what is no module is not linear."
            )
        return total.log()

    def score(self, layer: Layer, structure: Structure) -> Tensor:
        """(n_units,): shares of the flow."""
        # the observed gradient is that by the absolute weight
        gradient = self.seen[layer.name]
        weight = layer.weight.abs().to(gradient.dtype)
        return (structure.units(layer, weight) * structure.units(layer, gradient)).sum(1)


def _ones(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    return tree_map(_one, args), tree_map(_one, kwargs)


def _one(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    dtype = torch.float64 if value.is_floating_point() else value.dtype
    return torch.ones_like(value, dtype=dtype)


def _linear(module: nn.Module) -> Any:
    """What takes the place of the module's forward; None: nothing does."""
    if isinstance(module, _SCALES):
        return lambda x: x * _scale(module, x)
    if isinstance(module, _IDENTITIES):
        return lambda x: x
    return None


def _scale(module: nn.Module, x: Tensor) -> Tensor:
    """Factors that broadcast to x: channels in dimension 1, or the last dimensions."""
    weight: Tensor | None = getattr(module, "weight", None)
    factor = x.new_ones(()) if weight is None else weight
    variance = getattr(module, "running_var", None)
    if variance is not None:
        factor = factor / (variance + module.eps).sqrt()
    if factor.dim() == 0 or isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return factor
    return factor.view(-1, *[1] * (x.dim() - 2))
