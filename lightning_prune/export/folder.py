"""The thin folder: a thin module as tensors and text, from which it is built again bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.export.rebuild import rebuild
from lightning_prune.export.record import SCHEMA, read_record, read_tensors, write_record
from lightning_prune.export.widths import own_tensors, take_attentions, take_widths, widths_of
from lightning_prune.lowrank import factored
from lightning_prune.network.layers import plain_name


def save_thin(
    model: nn.Module,
    folder: str | Path,
    *,
    example: Any = None,
    dense: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a thin module: `model.safetensors` and `widths.json`, numbers and text without code.

    Arguments:
        model: As `thin` or `export_factors` made it, or any other module of plain tensors.
        folder: It is made; a module that it holds is replaced.
        example: Inputs, whose shapes and types are noted.
        dense: The resolved Hydra config that builds the dense network, with which `load_thin`
            needs no module.
        extra: More to note, in numbers, strings, lists and dicts.

    Returns:
        The folder.

    Raises:
        ValueError: A layer is factored, a module has state that is no tensor, or a tensor has no
            values or a form that the format does not know.
        TypeError: `dense` or `extra` hold something else.
    """
    from lightning_prune import __version__

    model = getattr(model, "_orig_mod", model)
    _check(model)
    tensors, tied = _tensors(model)
    record = {
        "schema": SCHEMA,
        "library": f"lightning_prune {__version__}",
        **widths_of(model),
        "tensors": {name: _shapes(tensor) for name, tensor in tensors.items()},
        "tied": tied,
        "example": _shapes(example),
        "model": None if dense is None else _container(dense),
        "extra": dict(extra or {}),
    }
    write_record(Path(folder), record, tensors)
    return Path(folder)


def load_thin(
    folder: str | Path, module: nn.Module | None = None, *, strict: bool = True
) -> nn.Module:
    """Build a thin module again, equal to the saved one bit for bit; no code in a file is run.

    Arguments:
        folder: That `save_thin` wrote.
        module: A dense network of the same code, with any weights, also on the meta device; it
            becomes the thin one. Its mode and its frozen parameters stay, types are those of the
            file. None: the folder's config builds it, if all that it calls is of
            `lightning_prune`, `torchvision.models` or `timm`.
        strict: The names in the file are those of the module; if not, what is missing stays as it
            was, and what is foreign is left out.

    Returns:
        The module, with parameters that are new objects.

    Raises:
        FileNotFoundError: The folder lacks a file.
        ValueError: A file is torn or damaged, of another schema, or of another network.
    """
    record = read_record(folder)
    tensors = read_tensors(folder, record)
    try:
        module = rebuild(record["model"]) if module is None else module
        module = getattr(module, "_orig_mod", module)
        if strict and record["class"] != type(module).__name__ and "" not in record["pairs"]:
            raise ValueError(f"it is of a {record['class']}, not of a {type(module).__name__}")
        _check_wider(module, record)
        module = take_widths(module, record)
        if strict:
            _check_names(module, {*tensors, *record["tied"]})
        _place(module, tensors, record["tied"])
        return take_attentions(module, record)
    except ValueError as error:
        raise ValueError(f"{str(folder)!r} cannot be used: {str(error).rstrip('.')}.") from error


def _check(model: nn.Module) -> None:
    for name, _ in factored(model):
        raise ValueError(
            f"The layer {plain_name(name)!r} is factored; save what export_factors makes of it."
        )
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise ValueError(
                f"{plain_name(name) or 'The model'} ({type(module).__name__}) has state that is "
                "no tensor."
            )


def _tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor once, on the CPU; and by name of the others, which one they are tied to."""
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[tuple, str] = {}
    for name, module, key in own_tensors(model):
        tensor = getattr(module, key)
        if tensor is None:
            continue
        if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta or tensor.layout != torch.strided:
            raise ValueError(f"{name} has no values in a plain tensor, so it cannot be written.")
        # memory is shared where all of it is; views that overlap are written apart
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        at = (id(tensor),) if not tensor.numel() else place
        if at in first:
            tied[name] = first[at]
            continue
        first[at] = name
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, tied


def _shapes(value: Any) -> Any:
    """Shapes and types of nested tensors."""
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return {str(name): _shapes(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_shapes(entry) for entry in value]
    return None


def _container(config: Mapping[str, Any]) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create(dict(config)), resolve=True)


def _check_wider(module: nn.Module, record: Mapping[str, Any]) -> None:
    """Refuse a module some tensor of which could not have become that of the file."""
    known = record["tensors"]
    for name, holder, key in own_tensors(module):
        dense, thin = getattr(holder, key), known.get(record["tied"].get(name, name))
        if dense is None or thin is None or torch.nn.parameter.is_lazy(dense):
            continue
        now, then = tuple(dense.shape), tuple(thin["shape"])
        if len(now) != len(then) or any(a < b for a, b in zip(now, then, strict=True)):
            raise ValueError(
                f"it is of another {record['class']}: {name} has {then} there and {now} in the "
                "module, from which it cannot have been cut"
            )


def _check_names(module: nn.Module, names: set[str]) -> None:
    own = {name: getattr(holder, key) for name, holder, key in own_tensors(module)}
    missing = [name for name, tensor in own.items() if tensor is not None and name not in names]
    foreign = sorted(names - own.keys())
    told = " and ".join(
        f"{verb} {', '.join(repr(name) for name in found[:3])}"
        + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        for verb, found in (("lacks", missing), ("has", foreign))
        if found
    )
    if told:
        raise ValueError(f"it is of another {type(module).__name__}: it {told}")


def _place(module: nn.Module, tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> None:
    """Put the tensors of the file in the places of the module's."""
    made: dict[str, Tensor] = {}
    for name, holder, key in list(own_tensors(module)):
        first = tied.get(name, name)
        if first not in tensors:
            continue
        old = getattr(holder, key)
        if first not in made:
            device = torch.device("cpu") if old is None or old.is_meta else old.device
            tensor = tensors[first].to(device)
            if key in holder._parameters:
                learned = tensor.is_floating_point() or tensor.is_complex()
                grad = learned and (old is None or old.requires_grad)
                tensor = nn.Parameter(tensor, requires_grad=grad)
            made[first] = tensor
        setattr(holder, key, made[first])
