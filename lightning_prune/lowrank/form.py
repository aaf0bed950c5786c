"""Form: before a state is loaded, every layer gets the form, dense or factored, that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

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
    # all are known before the first one changes, so that what is refused changes nothing
    for layer, start, wanted in (forms := list(_forms(module, state, prefix))):
        like = cast("Tensor", layer.weight).detach()
        if folding_of(layer) is not None:
            replace_by_dense(layer, torch.zeros_like(like))
        if wanted is None:
            continue
        zeros = [like.new_zeros(state[start + key].shape) for key in LOADED]
        if isinstance(wanted, ClusteredFolding):
            factorise_clusters(layer, wanted, *zeros)
        else:
            factorise(layer, wanted, *zeros)
    return [start.removeprefix(prefix).removesuffix(".") for _, start, _ in forms]


def dense_shapes(module: nn.Module, state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of a state's tensors by name, with a weight in the place of its factors.

    Factors of another layer than the module's of that name stay what they are.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name, layer in module.named_modules(remove_duplicate=False):
        start = f"{name}." if name else ""
        try:
            wanted = _folding_in(layer, state, start)
        except ValueError:
            continue
        if wanted is not None:
            for key in (*LOADED, OWNER):
                shapes.pop(start + key, None)
            shapes[start + "weight"] = wanted.shape
    return shapes


def factored(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The factored layers of a model, by name, shared ones once."""
    for name, module in model.named_modules():
        if folding_of(module) is not None:
            yield name, module


def _forms(
    module: nn.Module, state: Mapping[str, Any], prefix: str
) -> Iterator[tuple[nn.Module, str, Folding | None]]:
    """Layers with another form in the state, their names there, and the folding; None: dense."""
    seen = set()
    for name, layer in module.named_modules(remove_duplicate=False):
        start, folding = prefix + (f"{name}." if name else ""), folding_of(layer)
        try:
            wanted = _folding_in(layer, state, start)
        except ValueError as error:
            message = f"The layer {name!r} is another one in the state: {error}"
            raise ValueError(message) from None
        if layer in seen:
            continue
        if wanted is not None:
            shapes = [tuple(state[start + key].shape) for key in LOADED]
            if type(folding) is not type(wanted) or shapes != _shapes(layer):
                seen.add(layer)
                yield layer, start, wanted
        elif folding is not None and start + "weight" in state:
            seen.add(layer)
            yield layer, start, None


def _folding_in(layer: nn.Module, state: Mapping[str, Any], start: str) -> Folding | None:
    """How a state's factors of a layer are folded; None: it has none.

    Raises:
        ValueError: They are of another layer.
    """
    known = all(start + key in state for key in LOADED)
    if not known or not isinstance(getattr(layer, "weight", None), Tensor):
        return None
    encoder, decoder = (state[start + key] for key in LOADED)
    if (owner := state.get(start + OWNER)) is not None:
        return clustered_from(layer, encoder, decoder, owner.clone())
    return folding_from(layer, encoder, decoder)


def _before_loading(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    take_form(module, state, prefix)


def _shapes(layer: nn.Module) -> list[tuple[int, ...]]:
    held = layer.parametrizations.weight  # type: ignore[union-attr]
    return [tuple(getattr(held, f"original{place}").shape) for place in (0, 1)]
