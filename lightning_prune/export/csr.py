"""CSR: linear layers of their non-zero weights only, where that was measured to be faster."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_prune.clock import fastest
from lightning_prune.network.batches import call
from lightning_prune.network.layers import plain_name
from lightning_prune.network.successors import HOOKS, READERS, replaced
from lightning_prune.network.untouched import untouched

ROUNDS = 7
DTYPES = (torch.float32, torch.float64)
DENSE = 0.9  # share of non-zero weights above which nothing is measured
ROUNDING = 1e-4  # largest difference to the dense layer, as a share of its largest output


class CSRLinear(nn.Module):
    """A linear layer of compressed sparse rows, for inference on the CPU.

    Its state is of plain tensors: `crow` (outputs + 1,), `col` (non-zeros,), `values`
    (non-zeros,), which are not trained, and `bias`.

    Arguments:
        layer: Whose non-zero weights it takes; the bias is the layer's own.
    """

    crow: Tensor
    col: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach()
        rows, columns = weight.nonzero(as_tuple=True)
        counts = rows.bincount(minlength=self.out_features).cumsum(0)
        # MKL multiplies by numbers of 32 bits
        self.register_buffer("crow", torch.cat([counts.new_zeros(1), counts]).int())
        self.register_buffer("col", columns.int())
        self.values = nn.Parameter(weight[rows, columns], requires_grad=False)
        self.register_parameter("bias", layer.bias)

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs), sparse."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch says that this form is new
            size = (self.out_features, self.in_features)
            return torch.sparse_csr_tensor(self.crow, self.col, self.values, size)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        flat = input.reshape(-1, self.in_features)
        output = (self.weight @ flat.T).T
        if self.bias is not None:
            output = output + self.bias
        return output.reshape(*input.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Of the module's representation."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"nonzero={len(self.values)}"
        )


class CSRSpeed(NamedTuple):
    """One linear layer.

    Arguments:
        name: Of the layer.
        density: Share of its weights that are not zero.
        speedup: Time of the dense layer by that of the sparse one; None: not measured.
        replaced: Whether it is sparse now.
    """

    name: str
    density: float
    speedup: float | None
    replaced: bool


@torch.no_grad()
def to_csr(model: nn.Module, example: Any = None, *, threshold: float = 1.2) -> list[CSRSpeed]:
    """Make plain linear layers with zeros sparse, in place, where that is faster on this CPU.

    Both forms of a layer take turns on inputs of the size that it has in the model's forward,
    with the threads that torch has now; a layer stays dense where sparse does not win.

    Arguments:
        model: On the CPU, in float32 or float64.
        example: A batch of network inputs, of the size that will be used; None: one row a layer.
        threshold: Times as fast that a sparse layer has to be; at least 1, and more than the
            noise of a measurement.

    Returns:
        All plain linear layers, in the order of the modules.

    Raises:
        ValueError: `threshold` is below 1.
    """
    if threshold < 1:
        raise ValueError(f"threshold is 1 or more, or layers would get slower, not {threshold}.")
    layers = dict(_layers(model))
    sizes = {} if example is None else _sizes(model, layers, example)
    rows, made = [], dict[nn.Module, nn.Module]()
    for layer, name in layers.items():
        density = float((layer.weight != 0).double().mean())
        speedup = None
        if density <= DENSE and (example is None or layer in sizes):
            sparse = CSRLinear(layer).train(layer.training)
            speedup = _speedup(layer, sparse, sizes.get(layer, (1, layer.in_features)))
            if speedup is not None and speedup >= threshold:
                made[layer] = sparse
        rows.append(CSRSpeed(name, density, speedup, layer in made))
    _place(model, made)
    return rows


def _place(model: nn.Module, made: dict[nn.Module, nn.Module]) -> None:
    """Put layers in the places of others, with their hooks."""
    for layer, sparse in made.items():
        for hooks in HOOKS:
            setattr(sparse, hooks, getattr(layer, hooks))
    for parent in list(model.modules()):
        for kind, switches in READERS.items():
            if isinstance(parent, kind) and not made.keys().isdisjoint(parent.modules()):
                vars(parent).update(switches)
    for parent in [module for module in model.modules() if module not in made]:
        for key, value in vars(parent).items():
            vars(parent)[key] = replaced(value, made)


def _layers(model: nn.Module) -> Iterator[tuple[nn.Linear, str]]:
    """Linear layers that are called, and whose weight nobody else has."""
    held = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    read = {
        layer
        for reader in model.modules()
        if getattr(reader, "reads_weights", False)
        for layer in reader.modules()
    }
    for name, layer in model.named_modules():
        # a subclass, or a layer with a forward of its own, may be more than its weights
        if type(layer) is not nn.Linear or "forward" in vars(layer) or not name or layer in read:
            continue
        weight = layer.weight
        fits = weight.device.type == "cpu" and weight.dtype in DTYPES
        if fits and held[id(weight)] == 1:
            yield layer, plain_name(name)


def _sizes(model: nn.Module, layers: Any, example: Any) -> dict[nn.Module, tuple[int, ...]]:
    """By layer that the forward calls, the shape of what it reads."""
    sizes: dict[nn.Module, tuple[int, ...]] = {}

    def see(layer: nn.Module, args: tuple[Any, ...]) -> None:
        sizes.setdefault(layer, tuple(args[0].shape))

    handles = [layer.register_forward_pre_hook(see) for layer in layers]
    try:
        with untouched(model):
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def _speedup(dense: nn.Linear, sparse: CSRLinear, size: tuple[int, ...]) -> float | None:
    """Times as fast as dense; None where the sparse one does not run, or computes otherwise."""
    own = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, generator=own, dtype=dense.weight.dtype)
    # without hooks, which may count calls
    sides = [lambda: dense.forward(inputs), lambda: sparse.forward(inputs)]
    with torch.inference_mode():
        try:
            expected, found = (side() for side in sides)
        except RuntimeError:  # this build of torch has no such product
            return None
        if float((expected - found).abs().max()) > ROUNDING * float(expected.abs().max()):
            return None
        taken = fastest(sides, ROUNDS, inputs.device)
    return taken[0] / taken[1]
