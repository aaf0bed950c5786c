"""Layers: the tensors that can be pruned, found by type and by name."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lightning_prune.lowrank import factored, factors_of, folding_for, folding_of

PRUNABLE = (nn.Linear, _ConvNd)


@dataclass(frozen=True, eq=False)
class Layer:
    """One tensor of one module; all a criterion ever sees.

    Arguments:
        name: Qualified name of the module in the network, wrappers of `torch.compile` left out.
        module: The module that holds the tensor; it is looked up at every use, never copied.
        tensor: Name of the tensor in the module.
        out_dim: Dimension of the tensor that runs over outputs (filters, neurons).
        in_dim: Dimension that runs over inputs.
        positions: Places per sample at which one forward of the network applies each entry of
            the tensor, summed over `calls`; an entry costs that many multiply-adds. 0: not traced.
        calls: Uses of the layer in one forward; 0: not traced.
        maps: Of a convolution, places per sample of what its kernel reads and makes: by spatial
            axis, True where the size is that of the output, else of the input; the product over
            axes, summed over calls. None: not traced, or no convolution.
    """

    name: str
    module: nn.Module
    tensor: str = "weight"
    out_dim: int = 0
    in_dim: int = 1
    positions: int = 0
    calls: int = 0
    maps: Mapping[tuple[bool, ...], int] | None = None

    @property
    def parameter(self) -> nn.Parameter:
        """The live parameter, for those who change it."""
        return cast("nn.Parameter", getattr(self.module, self.tensor))

    @property
    def weight(self) -> Tensor:
        """The dense tensor, detached; shape as the module has it."""
        return self.parameter.detach()

    def traced(
        self, positions: int, calls: int, maps: Mapping[tuple[bool, ...], int] | None = None
    ) -> Layer:
        """The same layer with what a traced forward found out."""
        return dataclasses.replace(self, positions=positions, calls=calls, maps=maps)


@dataclass(frozen=True)
class LayerFilter:
    """Which layers are prunable: by type and by name pattern, all of it expressible in yaml.

    By default the weights of all linear and convolutional layers of any kind. Norms, biases,
    embeddings, frozen parameters and tensors that another kind of module also holds (tied
    embeddings) are never chosen.

    Arguments:
        include: Shell patterns (`layer1.*`, `*.conv2`); a layer must match one. None: all.
        exclude: Shell patterns of layers to leave alone.
        types: Class names (`Conv2d`, `Linear`); None: every linear and convolutional layer.
    """

    include: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None
    types: str | Sequence[str] | None = None

    def __call__(self, name: str, module: nn.Module) -> bool:
        """Whether the module of that name is chosen."""
        chosen = self.include is None or _matches(name, _listed(self.include))
        if self.exclude is not None and _matches(name, _listed(self.exclude)):
            return False
        wanted = _listed(self.types) if self.types is not None else None
        kinds = {base.__name__ for base in type(module).__mro__}
        return chosen and (wanted is None or not kinds.isdisjoint(wanted))


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def plain_name(name: str) -> str:
    """A qualified name without the segments that `torch.compile` inserts."""
    return name.replace("_orig_mod.", "").replace("._orig_mod", "")


def find_layers(model: nn.Module, chosen: LayerFilter | None = None) -> list[Layer]:
    """The prunable layers of `model`, in the order of its modules.

    Raises:
        ValueError: A pattern matches nothing, no layer is left, or a chosen weight is computed
            (a parametrization or `torch.nn.utils.prune`) or not yet materialised.
    """
    chosen = chosen or LayerFilter()
    prunable = [
        (plain_name(name), module)
        for name, module in model.named_modules()
        if isinstance(module, PRUNABLE)
    ]
    _check_patterns(chosen, prunable, _recurrent(model))
    candidates = [(name, module) for name, module in prunable if chosen(name, module)]
    owned = {id(module) for _, module in candidates}
    elsewhere = {
        id(parameter)
        for module in model.modules()
        if id(module) not in owned
        for parameter in module.parameters(recurse=False)
    }
    layers: list[Layer] = []
    seen: set[int] = set()
    for name, module in candidates:
        weight = _plain_weight(name, module)
        held = module if folding_of(module) is not None else weight  # a computed one is made anew
        if not weight.requires_grad or id(held) in elsewhere or id(held) in seen:
            continue
        seen.add(id(held))
        transposed = isinstance(module, _ConvTransposeNd)
        layers.append(
            Layer(name, module, out_dim=1 if transposed else 0, in_dim=0 if transposed else 1)
        )
    if not layers:
        raise ValueError(
            "No prunable layer was found: the model has no trainable linear or convolutional "
            "weight that the layer filter admits; widen include, exclude or types."
        )
    return layers


def _recurrent(model: nn.Module) -> list[str]:
    """Names of recurrent modules: never pruned, and criteria that watch ask to leave them out."""
    return [plain_name(n) for n, module in model.named_modules() if isinstance(module, nn.RNNBase)]


def _check_patterns(
    chosen: LayerFilter, prunable: Sequence[tuple[str, nn.Module]], others: Sequence[str]
) -> None:
    names = [name for name, _ in prunable]
    kinds = {base.__name__ for _, module in prunable for base in type(module).__mro__}
    for which in ("include", "exclude"):
        known = [*names, *others] if which == "exclude" else names
        for pattern in _listed(getattr(chosen, which) or []):
            if not any(fnmatch.fnmatchcase(name, pattern) for name in known):
                shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                raise ValueError(
                    f"The {which} pattern {pattern!r} matches no prunable layer; "
                    f"there are {len(names)}: {shown or 'none'}."
                )
    for kind in _listed(chosen.types or []):
        if kind not in kinds:
            raise ValueError(
                f"No prunable layer is of type {kind!r}; types are class names such as "
                "'Conv2d' or 'Linear'."
            )


def _plain_weight(name: str, module: nn.Module) -> nn.Parameter:
    if folding_of(module) is not None:  # ours: dense on request
        return cast("nn.Parameter", module.weight)
    weight = module._parameters.get("weight")
    if isinstance(weight, nn.UninitializedParameter):
        raise ValueError(
            f"Layer {name!r} is lazy and has no weight yet; run one forward before pruning."
        )
    if weight is None:
        raise ValueError(
            f"Layer {name!r} has no plain weight (a parametrization or torch.nn.utils.prune "
            f"computes it); make it permanent first, or leave it out with exclude={name!r}."
        )
    if type(weight.data) is not Tensor and type(weight.data) is not nn.Parameter:
        raise ValueError(
            f"Layer {name!r} holds a {type(weight.data).__name__}; sharded and quantised "
            "weights cannot be pruned here."
        )
    return weight


def dense_parameters(model: nn.Module) -> int:
    """Number of entries of all parameters, shared ones counted once, factored weights as dense."""
    stored = sum(
        p.numel() for p in model.parameters() if not isinstance(p, nn.UninitializedParameter)
    )
    for _, layer in factored(model):
        stored += folding_for(layer).numel - sum(factor.numel() for factor in factors_of(layer))
    return stored


def largest_dtype(layers: Iterable[Layer]) -> torch.dtype:
    """The widest dtype among the layers' weights."""
    return max((layer.weight.dtype for layer in layers), key=lambda d: torch.finfo(d).bits)
