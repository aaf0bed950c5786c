"""Signatures: what a forward is exported with, and whether what came of it computes the same."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lightning_prune.network.batches import batch_size, call, move
from lightning_prune.network.graph import tensors_in
from lightning_prune.network.inputs import resized
from lightning_prune.network.untouched import untouched
from lightning_prune.thinning.proof import difference

LINE = 160  # characters that are quoted of what another program says


@dataclass(frozen=True)
class Exported:
    """A file that runs without the model's code.

    Arguments:
        path: The file.
        bytes: On disk, with a file of weights beside it if there is one.
        error: Largest difference to the model on the example, and on another batch size if that
            is free, as a share of the largest output; None: not compared.
        opset: Of ONNX; None in other formats.
        note: Why it was not compared; empty if it was.
    """

    path: Path
    bytes: int
    error: float | None = None
    opset: int | None = None
    note: str = ""

    @property
    def checked(self) -> bool:
        """It was compared with the model."""
        return self.error is not None


class Signature:
    """A model's forward on an example, as exporters ask for it.

    Arguments:
        model: Any module; wrappers of `torch.compile` are left out.
        example: A tensor, a tuple of arguments or a dict of them.
        dynamic: The number of samples is free afterwards.
    """

    def __init__(self, model: nn.Module, example: Any, dynamic: bool) -> None:
        self.model = getattr(model, "_orig_mod", model)
        own = next(self.model.parameters(), torch.empty(0))
        # exporters take a size of 1 for a constant
        samples = batch_size(example)
        example = resized(example, 2) if dynamic and samples == 1 else example
        self.example = move(example, own.device)
        self.dynamic, self.samples = dynamic, batch_size(example)

    @property
    def args(self) -> tuple[Any, ...]:
        """By position."""
        if isinstance(self.example, dict):
            return ()
        listed = isinstance(self.example, list | tuple)
        return tuple(self.example) if listed else (self.example,)

    @property
    def kwargs(self) -> dict[str, Any]:
        """By name."""
        return self.example if isinstance(self.example, dict) else {}

    @property
    def given(self) -> Any:
        """Both, in the order in which they are flattened."""
        return self.kwargs or self.args

    def is_free(self, tensor: Tensor) -> bool:
        """Whether the number of samples, which is free, is the size of its first dimension."""
        return self.dynamic and tensor.dim() > 0 and len(tensor) == self.samples

    def shapes(self) -> Any:
        """Which dimensions are free, in the structure of the arguments; None: no one."""
        if not self.dynamic:
            return None
        batch = torch.export.Dim("batch", min=1)
        return tree_map(
            lambda value: {0: batch} if isinstance(value, Tensor) and self.is_free(value) else None,
            self.given,
        )

    def input_names(self) -> list[str]:
        """Of the tensors: those of the forward's arguments."""
        taken = list(inspect.signature(self.model.forward).parameters)
        given = dict(zip(taken, self.args, strict=False)) | self.kwargs
        names = []
        for name, value in given.items():
            tensors = tensors_of(value)
            names += [name] if len(tensors) == 1 else [f"{name}_{i}" for i in range(len(tensors))]
        return names

    def output_names(self) -> list[str]:
        """Of the tensors: `output`, the keys of a dict, or `output_0` and so on."""
        with self.still():
            result = call(self.model, self.example)
        if isinstance(result, Tensor):
            return ["output"]
        if isinstance(result, dict) and all(isinstance(v, Tensor) for v in result.values()):
            return list(map(str, result))
        return [f"output_{i}" for i in range(len(tensors_of(result)))]

    def examples(self) -> Iterator[Any]:
        """The example, and one of another batch size if that is free."""
        yield self.example
        if self.dynamic:
            yield resized(self.example, self.samples + 1)

    def error(self, run: Callable[[Any], list[Tensor]]) -> float:
        """Largest difference between the model and another, as a share of the largest output.

        Arguments:
            run: (example) -> the other's outputs, flattened.
        """
        worst = 0.0
        for example in self.examples():
            with self.still():
                expected = [t.detach().cpu() for t in tensors_in(call(self.model, example))]
            found = [t.detach().cpu() for t in run(example)]
            worst = max(worst, difference(_numbers(expected), _numbers(found)))
        return worst

    @contextmanager
    def still(self) -> Iterator[None]:
        """Inside, the model is in evaluation mode and no gradients are kept."""
        with untouched(self.model), torch.no_grad():
            yield


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, exporters and loaders say nothing: a failed one prints all that it has traced."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    unheard = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(unheard), redirect_stderr(unheard):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def tensors_of(value: Any) -> list[Tensor]:
    """In the order in which exporters flatten them."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def check_error(error: float, tolerance: float, what: str) -> None:
    """Refuse what computes something else.

    Raises:
        ValueError: It does.
    """
    if not error <= tolerance:
        raise ValueError(
            f"The {what} differs from the model by {error:.1e} of the largest output, more than "
            f"tolerance={tolerance:g}, so it was not kept."
        )


def reason(error: BaseException) -> str:
    """In one line, what was at the bottom of an exporter's error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[0] if lines else ""
    told = told if len(told) <= LINE else told[: LINE - 3] + "..."
    return f"{type(error).__name__}: {told}".rstrip(".: ")


def _numbers(tensors: list[Tensor]) -> list[Tensor]:
    return [t.double() if not t.is_complex() else torch.view_as_real(t).double() for t in tensors]
