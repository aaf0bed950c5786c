"""Hessian: second derivatives of a loss by the entries of parameters that are not zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Progress = Callable[[int, int], None]  # products done, and in all
BATCH = 16  # of a small neural ODE four times as fast as one by one, measured on one thread


class Hessian:
    """The matrix of second derivatives of a loss, as a product with vectors.

    The loss is computed once and its graph is kept, so a loss that draws noise has one draw of it.
    Entries that are zero are left out: a pruned network has no directions there.

    Arguments:
        loss_fn: Gives the loss, a scalar that can be differentiated twice by the parameters; of
            neural ODEs only those differentiated through the solver can, not by the adjoint.
        parameters: Tensors that require gradients. Derivatives are in their precision: for
            float64 ones the network and its data are float64.
        masks: Of their shapes, true where entries belong to the matrix; None: where they are
            not zero.

    Attributes:
        size: The number k of such entries.
        loss: The loss.

    Raises:
        ValueError: A parameter requires no gradient, masks do not match, or no entry is left.
    """

    def __init__(
        self,
        loss_fn: Callable[[], Tensor],
        parameters: Sequence[Tensor],
        masks: Sequence[Tensor] | None = None,
    ) -> None:
        self._parameters = list(parameters)
        if not all(parameter.requires_grad for parameter in self._parameters):
            raise ValueError("A parameter requires no gradient, so the loss has no Hessian by it.")
        if masks is None:
            masks = [parameter.detach() != 0 for parameter in self._parameters]
        shapes = [parameter.shape for parameter in self._parameters]
        if [mask.shape for mask in masks] != shapes:
            raise ValueError(f"The masks need the shapes of the parameters, {shapes}.")
        self._masks = [mask.bool() for mask in masks]
        self.size = sum(int(mask.sum()) for mask in self._masks)
        if not self.size:
            raise ValueError("No entry of the parameters is left, so the Hessian is empty.")
        with torch.enable_grad():
            loss = loss_fn()
            self._gradient = self._flat(self._derive(loss, None, create_graph=True))
        self.loss = float(loss.detach())

    def product(self, vector: Tensor) -> Tensor:
        """The matrix times a vector.

        Arguments:
            vector: (k,), or (b, k) of vectors whose products are computed together.

        Returns:
            Of the vector's shape, device and dtype.

        Raises:
            ValueError: The vector has another length.
        """
        if vector.shape[-1] != self.size:
            raise ValueError(f"The Hessian has {self.size} rows, the vector {vector.shape[-1]}.")
        if not self._gradient.requires_grad:  # of a loss that is linear
            return torch.zeros_like(vector)
        given = vector.to(self._gradient)
        return self._flat(self._derive(self._gradient, given)).to(vector)

    def dense(self, batch: int = BATCH, progress: Progress | None = None) -> Tensor:
        """(k, k), float64, by k products; symmetric.

        Arguments:
            batch: Products computed together: faster for small networks, and needs the memory
                of as many backward passes. 1 also works where a custom function of the loss
                has no batched backward.
            progress: Called after each batch with the number of products done, and k.
        """
        rows = torch.empty(self.size, self.size, dtype=torch.float64)
        for start in range(0, self.size, batch):
            stop = min(start + batch, self.size)
            units = torch.zeros(stop - start, self.size, dtype=torch.float64)
            units[:, start:stop].fill_diagonal_(1.0)
            rows[start:stop] = self.product(units[0] if batch == 1 else units)
            if progress is not None:
                progress(stop, self.size)
        return (rows + rows.T) / 2  # of which the halves differ by round-off

    @property
    def precision(self) -> float:
        """Relative round-off of the parameters' dtype."""
        return torch.finfo(self._gradient.dtype).eps

    def _derive(
        self, outputs: Tensor, weights: Tensor | None, create_graph: bool = False
    ) -> list[Tensor]:
        """Derivatives of the weighted outputs, or several where weights have two dimensions."""
        leading = () if weights is None else weights.shape[:-1]
        derived = torch.autograd.grad(
            outputs,
            self._parameters,
            grad_outputs=weights,
            retain_graph=True,
            create_graph=create_graph,
            is_grads_batched=bool(leading),
            allow_unused=True,
        )
        # the outputs may not depend on a parameter; torch's own zeros lack the leading dimension
        pairs = zip(derived, self._parameters, strict=True)
        return [p.new_zeros((*leading, *p.shape)) if d is None else d for d, p in pairs]

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """(k,), or (b, k) where the tensors have a leading dimension more than their masks."""
        pairs = zip(tensors, self._masks, strict=True)
        return torch.cat([tensor[..., mask] for tensor, mask in pairs], -1)


def hessian_product(
    loss_fn: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    masks: Sequence[Tensor] | None = None,
) -> Callable[[Tensor], Tensor]:
    """The function that multiplies a (k,) vector by the loss's Hessian; see `Hessian`."""
    return Hessian(loss_fn, parameters, masks).product
