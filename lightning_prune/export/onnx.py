"""ONNX: a model as one file for other runtimes, compared with the model in onnxruntime."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
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

LARGEST = 2 * 1000**3  # bytes of weights that one file takes: protobuf ends at 2 GiB
EXTRA = "pip install 'lightning-prune[onnx]'"


def export_onnx(
    model: nn.Module,
    example: Any,
    path: str | Path,
    *,
    opset: int | None = None,
    dynamic_batch: bool = True,
    check: bool = True,
    tolerance: float = 1e-4,
) -> Exported:
    """Write a model as ONNX: any runtime computes it, without this package and without torch.

    Inputs have the names of the forward's arguments; the output is `output`, or a name for each.
    Weights are in the file, or from 2 GB on in one beside it.

    Arguments:
        model: Plain or thin; it stays as it is, and is exported in evaluation mode.
        example: A batch of network inputs: a tensor, a tuple of arguments or a dict of them.
        path: Of the file.
        opset: Version of the operators; None: the exporter's choice.
        dynamic_batch: The file takes any number of samples, not only that of the example.
        check: Compare with the model in onnxruntime, if it is installed.
        tolerance: Largest difference, as a share of the largest output.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ValueError: Torch cannot export the model, or the file computes something else; nothing is
            written then.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(f"export_onnx needs {' and '.join(missing)}: {EXTRA}.")
    signature = Signature(model, example, dynamic_batch)
    program = _program(signature, opset)
    _check_free(signature, program)
    _strip(program.model)
    found = program.model.opset_imports.get("", 0)
    if opset is not None and found != opset:
        raise ValueError(f"Torch cannot write this model for opset {opset}, only for {found}.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside the place where it goes: a file is only replaced at once within a file system
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".onnx") as place:
        file = Path(place) / path.name
        weights = sum(t.numel() * t.element_size() for t in signature.model.state_dict().values())
        program.save(file, external_data=weights >= LARGEST)
        error, note = _checked(signature, file) if check else (None, "not asked for")
        if error is not None:
            check_error(error, tolerance, "ONNX file")
        written = sorted(Path(place).iterdir())
        size = sum(part.stat().st_size for part in written)
        for part in written:
            os.replace(part, path.parent / part.name)
    return Exported(path, size, error, found, note)


def onnx_runner(path: str | Path, threads: int = 1) -> Callable[[Any], list[Tensor]]:
    """What a file computes in onnxruntime on the CPU: (example) -> its outputs, flattened.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise ImportError(f"onnxruntime is not installed: {EXTRA}.")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(example: Any) -> list[Tensor]:
        tensors = [t.detach().cpu().numpy() for t in tensors_of(example)]
        outputs = session.run(None, dict(zip(names, tensors, strict=True)))
        return [torch.from_numpy(output) for output in outputs]

    return run


def _program(signature: Signature, opset: int | None) -> Any:
    try:
        inputs, outputs = signature.input_names(), signature.output_names()
        with signature.still(), quietly():
            return torch.onnx.export(
                signature.model,
                signature.args,
                kwargs=signature.kwargs or None,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                dynamic_shapes=signature.shapes(),
                input_names=inputs,
                output_names=outputs,
            )
    except Exception as error:
        hint = "; dynamic_batch=False may do" if signature.dynamic else ""
        kind = type(signature.model).__name__
        raise ValueError(
            f"Torch cannot export this {kind} to ONNX ({reason(error)}){hint}."
        ) from error


def _check_free(signature: Signature, program: Any) -> None:
    """The exporter writes a batch size that the forward fixes as a constant, and says nothing."""
    fixed = [
        entry.name
        for entry, tensor in zip(
            program.model.graph.inputs, tensors_of(signature.given), strict=False
        )
        if signature.is_free(tensor) and isinstance(entry.shape[0], int)
    ]
    if fixed:
        raise ValueError(
            f"The forward of this {type(signature.model).__name__} fixes the number of samples of "
            f"{', '.join(fixed)} (as len(x) and reshapes to a number do, and x.shape[0] does not); "
            "dynamic_batch=False exports it for those of the example."
        )


def _strip(model: Any) -> None:
    """Without the exporter's notes: they name files of this machine, and take most of the room."""
    for graph in model.graphs():
        graph.metadata_props.clear()
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    model.metadata_props.clear()


def _checked(signature: Signature, file: Path) -> tuple[float | None, str]:
    try:
        run = onnx_runner(file)
    except ImportError as error:
        return None, str(error)
    except Exception as error:
        raise ValueError(f"onnxruntime cannot load the ONNX file ({reason(error)}).") from error
    try:
        return signature.error(run), ""
    except Exception as error:
        raise ValueError(f"onnxruntime cannot run the ONNX file ({reason(error)}).") from error
