"""Programs: a model as a `.pt2` file, which torch runs without the model's code."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.export.signature import (
    Exported,
    Signature,
    check_error,
    quietly,
    reason,
    tensors_of,
)


def export_program(
    model: nn.Module,
    example: Any,
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    check: bool = True,
    tolerance: float = 1e-5,
) -> Exported:
    """Write a model as an exported program: `torch.export.load(path).module()` runs it anywhere.

    Arguments:
        model: Plain or thin; it stays as it is, and is exported in evaluation mode.
        example: A batch of network inputs: a tensor, a tuple of arguments or a dict of them.
        path: Of the file, which ends in `.pt2`.
        dynamic_batch: The program takes any number of samples, not only that of the example.
        check: Load the file and compare it with the model.
        tolerance: Largest difference, as a share of the largest output.

    Raises:
        ValueError: The path ends otherwise, torch cannot export the model, or the file computes
            something else; nothing is written then.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"The file of a program ends in .pt2, unlike {str(path)!r}.")
    signature = Signature(model, example, dynamic_batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside the place where it goes: a file is only replaced at once within a file system
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pt2") as place:
        file = Path(place) / path.name
        error, note = None, "not asked for"
        try:
            with signature.still(), quietly():
                program = torch.export.export(
                    signature.model,
                    signature.args,
                    kwargs=signature.kwargs or None,
                    dynamic_shapes=signature.shapes(),
                    strict=False,
                )
                for node in program.graph.nodes:
                    node.meta.pop("stack_trace", None)  # names files of this machine
                torch.export.save(program, file)
            if check:
                error, note = signature.error(program_runner(file)), ""
        except Exception as failed:
            hint = "; dynamic_batch=False may do" if dynamic_batch else ""
            kind = type(signature.model).__name__
            raise ValueError(
                f"Torch cannot export this {kind} as a program ({reason(failed)}){hint}."
            ) from failed
        if error is not None:
            check_error(error, tolerance, "program")
        size = file.stat().st_size
        os.replace(file, path)
    return Exported(path, size, error, None, note)


def program_runner(path: str | Path) -> Any:
    """What a file computes: (example) -> its outputs, flattened."""
    with quietly():
        run = torch.export.load(path).module()

    def outputs(example: Any) -> list[Tensor]:
        with torch.no_grad():
            if isinstance(example, dict):
                return tensors_of(run(**example))
            listed = isinstance(example, list | tuple)
            return tensors_of(run(*example) if listed else run(example))

    return outputs
