"""Momenta: what optimizers remember of weights that events replace by factors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_prune.lowrank import Folding, factors_of, folding_of
from lightning_prune.network.layers import Layer

# states that are gone on with: the first of SGD's kind, the second of Adam's
MOMENTUM, MEAN, SQUARES = "momentum_buffer", "exp_avg", ("exp_avg_sq", "max_exp_avg_sq")


class Memory(NamedTuple):
    """One optimizer's memory of one layer."""

    optimizer: Optimizer
    momentum: Tensor | None  # of the dense weight, in the unit of its gradient; None: not known
    adaptive: bool  # it has second moments
    stepped: Tensor | None  # in the type that counts its steps


class Momenta:
    r"""Takes momentum from weights before an event and gives it to what stands in their place.

    Momentum is a mean of gradients. A product :math:`W = D E` has the gradients
    :math:`G_D = G E^T` and :math:`G_E = D^T G`, so that is how the momentum of a dense weight is
    projected onto its factors; and the momentum of a dense weight is found from that of earlier
    factors as the smallest G that has both. Second moments cannot be carried over: Adam and its
    kind go on as after one step, whose gradient was the momentum. Other optimizers begin anew.

    Arguments:
        optimizers: The living ones.
        layers: All prunable layers, before the event.
    """

    def __init__(self, optimizers: Sequence[Optimizer], layers: Sequence[Layer]) -> None:
        self._memories = {
            layer.name: (self._held(layer.module), memories)
            for layer in layers
            if (memories := [m for o in optimizers if (m := _memory(o, layer.module))])
        }

    @torch.no_grad()
    def give(self, layers: Sequence[Layer]) -> list[str]:
        """Hand on what is known to parameters that are new.

        Arguments:
            layers: The same, after the event; optimizers already have their parameters.

        Returns:
            A note, if second moments, or all that was remembered, were lost.
        """
        anew: dict[str, int] = {}
        for layer in layers:
            before, memories = self._memories.get(layer.name, ([], []))
            now = self._held(layer.module)
            if not memories or [id(p) for p in before] == [id(p) for p in now]:
                continue
            for memory in memories:
                if memory.adaptive or memory.momentum is None:
                    kind = type(memory.optimizer).__name__
                    anew[kind] = anew.get(kind, 0) + 1
                if memory.momentum is not None:
                    _hand_on(memory, layer.module, now)
        return [
            f"second moments of {kind} begin anew in {count} layers, whose parameters are others; "
            "means of gradients were carried over where the optimizer keeps any"
            for kind, count in anew.items()
        ]

    @staticmethod
    def _held(module: nn.Module) -> list[nn.Parameter]:
        return list(factors_of(module)) if folding_of(module) else [module.weight]  # type: ignore[list-item]


def projected(momentum: Tensor, folding: Folding, encoder: Tensor, decoder: Tensor) -> list[Tensor]:
    """[that of the encoder, that of the decoder], in their shapes, of a dense weight's momentum."""
    matrices = folding.matrices(momentum.to(torch.float64))
    left, right = folding.left(decoder).to(matrices), folding.right(encoder).to(matrices)
    pair = folding.encoder(left.mT @ matrices), folding.decoder(matrices @ right.mT)
    return [part.to(encoder.dtype) for part in pair]


def lifted(momenta: Sequence[Tensor], folding: Folding, factors: Sequence[Tensor]) -> Tensor:
    """The smallest momentum of the dense weight whose projections are those of its factors."""
    right, left = (
        fold(tensor).to(torch.float64)
        for fold, tensor in zip((folding.right, folding.left), factors, strict=True)
    )
    of_right, of_left = (
        fold(tensor).to(torch.float64)
        for fold, tensor in zip((folding.right, folding.left), momenta, strict=True)
    )
    across, along = torch.linalg.pinv(right), torch.linalg.pinv(left)  # (n, j) and (j, m)
    from_left = of_left @ across.mT
    both = of_right - left.mT @ from_left
    return folding.weight(from_left + along.mT @ both).to(momenta[0].dtype)


def _memory(optimizer: Optimizer, module: nn.Module) -> Memory | None:
    folding = folding_of(module)
    held = Momenta._held(module)
    states: list[dict[str, Any]] = [optimizer.state.get(p) or {} for p in held]
    if not all(states):
        return None
    tensors = {n for n, v in states[0].items() if isinstance(v, Tensor) and v.dim()}
    plain = tensors <= {MOMENTUM}
    adaptive = MEAN in tensors and tensors <= {MEAN, *SQUARES} and "mu_product" not in states[0]
    if not plain and not adaptive:
        return Memory(optimizer, None, bool(tensors), None)
    if not tensors:
        return None
    momenta = [state[MEAN if adaptive else MOMENTUM] for state in states]
    if adaptive:  # towards zero at its beginning, which is set right here once and for all
        beta, steps = _betas(optimizer, held[0])[0], float(states[0]["step"])
        momenta = [momentum / (1 - beta**steps) for momentum in momenta]
    dense = lifted(momenta, folding, held) if folding else momenta[0]
    return Memory(optimizer, dense.clone(), adaptive, states[0].get("step"))


def _hand_on(memory: Memory, module: nn.Module, now: Sequence[nn.Parameter]) -> None:
    assert memory.momentum is not None
    folding = folding_of(module)
    parts = projected(memory.momentum, folding, *now) if folding else [memory.momentum]
    for parameter, momentum in zip(now, parts, strict=True):
        if momentum.shape != parameter.shape:  # another structure's, which begins anew
            continue
        if not memory.adaptive:
            memory.optimizer.state[parameter] = {MOMENTUM: momentum}
            continue
        first, second = _betas(memory.optimizer, parameter)
        square = (1 - second) * momentum.square()
        state = {"step": torch.ones_like(memory.stepped), MEAN: (1 - first) * momentum}  # type: ignore[arg-type]
        state[SQUARES[0]] = square
        if _group(memory.optimizer, parameter).get("amsgrad"):
            state[SQUARES[1]] = square.clone()
        memory.optimizer.state[parameter] = state


def _betas(optimizer: Optimizer, parameter: nn.Parameter) -> tuple[float, float]:
    first, second = _group(optimizer, parameter)["betas"]
    return float(first), float(second)


def _group(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    return next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
