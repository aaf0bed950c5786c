"""Holding: after every optimizer step, what is gone is zero again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_prune.training.masks import Masks
from lightning_prune.training.optimizers import after_every_step, parameters_of


class Hold:
    """Hooks on the optimizers of a run, and the masks of the parameters that each of them moves.

    Attributes:
        stepped: An optimizer step was taken since this was last set to False.
    """

    def __init__(self) -> None:
        self.stepped = True
        self._handles: list[tuple[int, RemovableHandle]] = []
        self._pairs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def watches(self, optimizers: Sequence[Optimizer]) -> bool:
        """Whether these are the optimizers that are held; a tuner exchanges them."""
        return [id(optimizer) for optimizer in optimizers] == [key for key, _ in self._handles]

    def attach(self, optimizers: Sequence[Optimizer], masks: Masks) -> None:
        """Hold the masks after every step of these optimizers, and of no others.

        Raises:
            ValueError: An optimizer has no step hooks.
        """
        self.detach()
        self._handles = [(id(o), after_every_step(o, self._after_step)) for o in optimizers]
        self.assign(optimizers, masks)

    def assign(self, optimizers: Sequence[Optimizer], masks: Masks) -> None:
        """Take the present masks; an event has changed them."""
        held = {id(o): masks.of(parameters_of(o)) for o in optimizers}
        self._pairs = {key: (list(of), list(of.values())) for key, of in held.items() if of}

    def detach(self) -> None:
        """Leave no hook and no mask behind."""
        for _, handle in self._handles:
            handle.remove()
        self._handles, self._pairs = [], {}

    @torch.no_grad()
    def mask_gradients(self, optimizer: Optimizer | None = None) -> None:
        """Zero the gradients of removed entries, so that norms see the sparse network only.

        Arguments:
            optimizer: Whose parameters; None: those of all.
        """
        for key in self._pairs if optimizer is None else (id(optimizer),):
            parameters, masks = self._pairs.get(key, ([], []))
            pairs = [
                (p.grad, m) for p, m in zip(parameters, masks, strict=True) if p.grad is not None
            ]
            if pairs:
                torch._foreach_mul_([grad for grad, _ in pairs], [mask for _, mask in pairs])

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer) -> None:
        self.stepped = True
        parameters, masks = self._pairs.get(id(optimizer), ([], []))
        if parameters:
            torch._foreach_mul_(parameters, masks)
