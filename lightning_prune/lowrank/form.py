"""Form: before a state is loaded, every layer gets the form, dense or factored, that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_prune.lowrank.clustered import (
    ClusteredFolding,
    clustered_from,
    factorise_clusters,
)
from lightning_prune.lowrank.factors import (
    LOADED,
    factorise,
    folding_from,
    folding_of,
    replace_by_dense,
)
from lightning_prune.lowrank.folding import Folding

# of clusters, the columns that each has
OWNER = "parametrizations.weight.0.owner"


def follow_states(module: nn.Module) -> RemovableHandle:
    """From now on, until the handle is removed, `load_state_dict` takes dense and factored states.

    What is loaded into a copy of the module changes the copy.
    """
    return module.register_load_state_dict_pre_hook(_before_loading)


def take_form(module: nn.Module, state: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Give every layer of a module the form that it has in a state.

    New weights and factors are zeros, to be loaded. Layers that the state does not have stay.

    Arguments:
        module: Any.
        state: Names to tensors.
        prefix: Of the module's names in the state.

    Returns:
        The names of the layers that changed.

    Raises:
        ValueError: Factors are of another layer than the one of their name.
    """
    changed = []
    for name, layer in module.named_modules(remove_duplicate=False):
        start = prefix + (f"{name}." if name else "")
        factors = [state[start + key] for key in LOADED if start + key in state]
        owner = state.get(start + OWNER)
        folding = folding_of(layer)
        if len(factors) == 2 and isinstance(getattr(layer, "weight", None), Tensor):
            try:
                if owner is None:
                    wanted = folding_from(layer, *factors)
                else:
                    wanted = clustered_from(layer, factors[0], factors[1], owner.clone())
            except ValueError as error:
                raise ValueError(
                    f"The layer {name!r} is another one in the state: {error}"
                ) from None
            shapes = [tuple(factor.shape) for factor in factors]
            same = type(folding) is type(wanted) and shapes == _shapes(layer)
            if not same:
                like = layer.weight.detach()
                if folding is not None:
                    replace_by_dense(layer, like.clone())
                zeros = [like.new_zeros(shape) for shape in shapes]
                make = factorise_clusters if isinstance(wanted, ClusteredFolding) else factorise
                make(layer, wanted, *zeros)  # type: ignore[arg-type]
                changed.append(name)
        elif folding is not None and start + "weight" in state:
            replace_by_dense(layer, torch.zeros_like(layer.weight))
            changed.append(name)
    return changed


def dense_shapes(module: nn.Module, state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of a state's tensors by name, with a weight in the place of its factors.

    Factors of another layer than the module's of that name stay what they are.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name, layer in module.named_modules(remove_duplicate=False):
        start = f"{name}." if name else ""
        keys = [start + key for key in LOADED]
        if not all(key in state for key in keys):
            continue
        try:
            owner = state.get(start + OWNER)
            encoder, decoder = (state[key] for key in keys)
            if owner is None:
                folding: Folding = folding_from(layer, encoder, decoder)
            else:
                folding = clustered_from(layer, encoder, decoder, owner)
        except ValueError:
            continue
        for key in (*keys, start + OWNER):
            shapes.pop(key, None)
        shapes[start + "weight"] = folding.shape
    return shapes


def factored(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The factored layers of a model, by name, shared ones once."""
    for name, module in model.named_modules():
        if folding_of(module) is not None:
            yield name, module


def _before_loading(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    take_form(module, state, prefix)


def _shapes(layer: nn.Module) -> list[tuple[int, ...]]:
    held = layer.parametrizations.weight  # type: ignore[union-attr]
    return [tuple(getattr(held, f"original{place}").shape) for place in (0, 1)]
