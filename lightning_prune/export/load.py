"""Loading: a checkpoint of a pruned model, of whatever form, into a module without a Trainer."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.damage import damage
from lightning_prune.lowrank import take_form
from lightning_prune.network.layers import plain_name
from lightning_prune.thinning import take_shapes, take_sizes

# what stands between a layer's name and those of the tensors that its weight is computed from
COMPUTED = "parametrizations.weight."
State = Mapping[str, Any]


def load_pruned(
    path: str | Path, module: nn.Module, *, strict: bool = True, map_location: Any = "cpu"
) -> nn.Module:
    """Load a checkpoint into a module, which becomes dense, factored or thin as it was.

    Nothing is decomposed, so the outputs are those of the saved model to the bit.

    Arguments:
        path: A checkpoint of Lightning, or a file of a plain state dict. It is loaded safely: no
            code in it is executed.
        module: The LightningModule, or the network that it holds under an attribute (`net.`,
            `model.`), whose prefix is found. Its mode, device and dtype stay.
        strict: The names in the file are those of the module; if not, what is missing stays as
            it was, and what is foreign is left out. Outside the network's prefix all is.
        map_location: Where tensors lie while they are read, see `torch.load`.

    Returns:
        The module.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is torn, no checkpoint, or holds more than can be loaded safely; or its
            state is of another module, or of several such networks.
    """
    path = Path(path)
    content = _content(path, map_location)
    state, prefix = _renamed(_state(content, path), module, path, strict)
    try:
        take_form(module, state)
        shapes, numbers = (_removed(content, which, prefix) for which in ("shapes", "numbers"))
        if shapes:
            take_shapes(module, shapes)
            take_sizes(module, numbers)
        left = module.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        lines = [line.strip(" \t.") for line in str(error).splitlines()]
        told = "; ".join(lines[1:4] or lines)  # torch's first line of several is a heading
        raise ValueError(f"{str(path)!r} is of another {type(module).__name__}: {told}.") from None
    if strict and (left.missing_keys or left.unexpected_keys):
        told = " and ".join(
            f"{verb} {_some(names)}"
            for verb, names in (("lacks", left.missing_keys), ("has", left.unexpected_keys))
            if names
        )
        raise ValueError(f"{str(path)!r} is of another {type(module).__name__}: it {told}.")
    return module


def _content(path: Path, map_location: Any) -> Any:
    """What the file holds, if every byte of it is as it was written."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.")
    whole = zipfile.is_zipfile(path)
    if whole and (wrong := damage(path)):
        raise ValueError(f"{str(path)!r} cannot be used: {wrong}.")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        why = (
            f"it holds more than is loaded safely ({type(error).__name__}); where you trust it, "
            "save its state dict alone"
            if whole and "weights_only" in str(error)
            else f"it is torn, or no checkpoint ({type(error).__name__})"
        )
        raise ValueError(f"{str(path)!r} cannot be used: {why}.") from error


def _state(content: Any, path: Path) -> State:
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{str(path)!r} cannot be used: it holds no state of a module.")
    return state


def _removed(content: Any, which: str, prefix: str) -> dict[str, Any]:
    """What a training that took units out says of tensors, or of modules, by name."""
    callbacks = content.get("callbacks", {}) if "state_dict" in content else {}
    return {
        name.removeprefix(prefix): value
        for state in callbacks.values()
        if isinstance(state, Mapping)
        for name, value in (state.get("removal") or {}).get(which, {}).items()
        if name.startswith(prefix)
    }


def _renamed(
    state: State, module: nn.Module, path: Path, strict: bool
) -> tuple[dict[str, Any], str]:
    """The part of a state that is the module's, by the module's names, and what came before them.

    Names are compared without what factors and `torch.compile` add to them.
    """
    names = {plain_name(_dense(name)): _dense(name) for name in module.state_dict()}
    plain = {plain_name(name): value for name, value in state.items()}
    found = {_dense(name) for name in plain}
    fits = Counter(
        name[: len(name) - len(end)] for name in found for end in _ends(name) if end in names
    )
    best = max(fits.values(), default=0)
    if strict and best < len(names):
        likely = max(fits, key=lambda prefix: fits[prefix], default="")
        missing = [name for name in names if likely + name not in found]
        under = f" under {likely!r}" if likely else ""
        told = f"it lacks {_some(missing)}{under}"
        raise ValueError(f"{str(path)!r} is of another {type(module).__name__}: {told}.")
    prefixes = sorted(prefix for prefix in fits if fits[prefix] == best)
    if not prefixes:
        raise ValueError(f"{str(path)!r} has nothing that a {type(module).__name__} has.")
    if len(prefixes) > 1 and "" not in prefixes:
        raise ValueError(
            f"{str(path)!r} has several states of a {type(module).__name__}: {_some(prefixes)}; "
            "load the module that holds them."
        )
    prefix = prefixes[0]
    own = {name.removeprefix(prefix): v for name, v in plain.items() if name.startswith(prefix)}
    return {_as_named(name, names): value for name, value in own.items()}, prefix


def _dense(name: str) -> str:
    """The name of the weight that a tensor is a part of; other names stay."""
    layer, computed, _ = name.partition(COMPUTED)
    return f"{layer}weight" if computed and (not layer or layer.endswith(".")) else name


def _ends(name: str) -> Iterable[str]:
    """The name, and what is left of it without its first parts."""
    parts = name.split(".")
    return (".".join(parts[at:]) for at in range(len(parts)))


def _as_named(name: str, names: Mapping[str, str]) -> str:
    """The name of a state's tensor in a module that has other names for the same weights."""
    dense = _dense(name)
    if dense not in names or dense == name:
        return names.get(name, name)
    return names[dense].removesuffix("weight") + name[len(dense) - len("weight") :]


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
