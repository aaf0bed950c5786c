"""Fields: what a network of continuous depth integrates, with its Jacobian's products."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from inspect import signature
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.models.activations import ACTIVATIONS, check_activation


class Field(nn.Module, ABC):
    r"""A velocity :math:`f(t, x)`.

    Fields carry tangents through their layers by hand: it is exact, works under any of torch's
    grad and inference modes, compiles, and can be differentiated as often as the layers can.
    """

    @abstractmethod
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Compute the velocity at time t (no dimension) of states (batch, ...), in their shape."""

    def push(self, t: Tensor, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the velocity, and the Jacobian times each tangent.

        Args:
            t: Time, of no dimension.
            x: (batch, ...) states.
            tangents: (k, batch or 1, ...) directions.

        Returns:
            (batch, ...) velocity, and (k, batch, ...) products of the Jacobian.
        """

        def along(tangent: Tensor) -> tuple[Tensor, Tensor]:
            along_x = (tangent.expand_as(x),)
            return cast("tuple[Tensor, Tensor]", torch.func.jvp(partial(self, t), (x,), along_x))

        pushed = [along(tangent) for tangent in tangents.unbind(0)]
        return pushed[0][0], torch.stack([product for _, product in pushed])

    def divergence(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the velocity, and (batch,) the trace of the Jacobian, exactly."""
        size = x[0].numel()
        basis = torch.eye(size, dtype=x.dtype, device=x.device).view(size, 1, *x.shape[1:])
        dx, pushed = self.push(t, x, basis)
        return dx, pushed.flatten(2).diagonal(dim1=0, dim2=2).sum(1)


class MLPField(Field):
    r"""A field of linear layers with an activation between them.

    Args:
        dims: Size of the state.
        hidden: Sizes of the hidden layers.
        activation: "tanh", "sigmoid", "softplus" or "relu".
        time: Whether time is one more input; without it the field is autonomous.

    Raises:
        ValueError: If a size is smaller than 1 or the activation unknown.
    """

    reads_weights = True  # tangents pass through layers without calling them

    def __init__(
        self,
        dims: int = 2,
        hidden: Sequence[int] = (64, 64, 64),
        activation: str = "tanh",
        time: bool = False,
    ) -> None:
        super().__init__()
        if min([dims, *hidden]) < 1:
            raise ValueError(f"MLPField needs sizes of at least 1, got {dims} and {[*hidden]}.")
        self.activation, self.time = check_activation(activation), time
        sizes = [dims + time, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.layers.append(nn.Linear(sizes[-1], dims))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Compute the velocity of (batch, dims) states."""
        act = ACTIVATIONS[self.activation][0]
        x = self._with_time(t, x)
        *body, last = self._layers
        for layer in body:
            x = act(layer(x))
        return last(x)

    def push(self, t: Tensor, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the velocity, and the Jacobian times each of (k, batch or 1, dims) tangents."""
        act, slope = ACTIVATIONS[self.activation]
        x = self._with_time(t, x)
        tangents = F.pad(tangents, (0, 1)) if self.time else tangents
        *body, last = self._layers
        if not body:  # or else the slopes bring the batch in
            tangents = tangents.expand(-1, len(x), -1)
        for layer in body:
            inner = layer(x)
            x = act(inner)
            tangents = F.linear(tangents, layer.weight) * slope(inner, x)
        return last(x), F.linear(tangents, last.weight)

    def divergence(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Compute the velocity, and (batch,) the trace of the Jacobian, exactly.

        Compiled, tangents from the left and cotangents from the right meet at a hidden layer:
        :math:`\mathrm{tr} (W_4 D_3 W_3 D_2 W_2 D_1 W_1) = \sum_{k,b} (D_1 W_1 e_k W_2^T)_b
        (D_2)_b (e_k^T W_4 D_3 W_3)_b`, where the outermost products are those of slopes with
        products of weights. A trace of the network for pruning would not know these as the
        layers' own, and never is compiled.
        """
        if not torch.compiler.is_compiling() or self.time or len(self.layers) < 3:
            return super().divergence(t, x)
        act, slope = ACTIVATIONS[self.activation]
        *body, last = self._layers
        slopes = []
        for layer in body:
            inner = layer(x)
            x = act(inner)
            slopes.append(slope(inner, x))
        middle = len(body) // 2
        left = slopes[0] @ _joined(body[1].weight.T, body[0].weight)
        left = left.unflatten(1, (-1, len(body[1].weight)))
        for layer, at in zip(body[2 : middle + 1], slopes[1:middle], strict=True):
            left = (left * at[:, None]) @ layer.weight.T
        if middle == len(body) - 1:
            right = last.weight
        else:
            right = slopes[-1] @ _joined(body[-1].weight, last.weight.T)
            right = right.unflatten(1, (-1, body[-1].weight.shape[1]))
            for layer, at in zip(
                reversed(body[middle + 1 : -1]), reversed(slopes[middle + 1 : -1]), strict=True
            ):
                right = (right * at[:, None]) @ layer.weight
        return last(x), ((left * right).sum(1) * slopes[middle]).sum(1)

    @property
    def _layers(self) -> list[nn.Linear]:
        return cast("list[nn.Linear]", list(self.layers))

    def _with_time(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.cat([x, t.expand(len(x), 1)], 1) if self.time else x


def _joined(weight: Tensor, ends: Tensor) -> Tensor:
    """(a, k * b): an (a, b) weight whose rows each of k columns of (a, k) ends scales."""
    return (ends[:, :, None] * weight[:, None, :]).flatten(1)


class Wrapped(Field):
    """Any module as a field; its tangents are carried by `torch.func`.

    Args:
        module: Called with (t, x) if its forward has a parameter `t`, else with x.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        with warnings.catch_warnings():  # what torch imports at the first of these is deprecated
            warnings.simplefilter("ignore", FutureWarning)
            torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
        self.module = module
        self.timed = "t" in signature(module.forward).parameters

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Compute the velocity."""
        return self.module(t, x) if self.timed else self.module(x)


def as_field(module: nn.Module) -> Field:
    """The module itself if it is a field, else a field around it."""
    return module if isinstance(module, Field) else Wrapped(module)
