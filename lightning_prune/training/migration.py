"""Coming from Lightning's `ModelPruning`: its set-ups as ours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from lightning_prune.allocations import Threshold, Uniform
from lightning_prune.criteria import Criterion, Magnitude, Random
from lightning_prune.methods import Method
from lightning_prune.network.layers import PRUNABLE, LayerFilter, dense_parameters, plain_name
from lightning_prune.report import keep_text
from lightning_prune.schedules import Steps
from lightning_prune.structures import Filters, Weights
from lightning_prune.training.callback import Pruning
from lightning_prune.training.rewind import Rewind

OVERRIDABLE = ("apply_pruning", "filter_parameters_to_prune", "make_pruning_permanent")


def from_model_pruning(
    setup: object, *, max_epochs: int, model: nn.Module | None = None, compound: bool = False
) -> Pruning:
    """The `Pruning` that does what a set-up of Lightning's `ModelPruning` asks for.

    What a set-up is turned into:

    - `l1_unstructured` and `random_unstructured` become magnitude and random pruning of weights,
      by one threshold, or layer by layer without `use_global_unstructured`; `ln_structured` and
      `random_structured` with `pruning_dim=0` become filter norm and random filters, layer by
      layer, where a filter leaves with everything that lives on it.
    - `amount` is removed from what is left at every epoch at which `apply_pruning` holds, so that
      after i epochs (1 - amount)^i are left. That is hardly ever meant: `amount` is read as the
      sparsity in the end, reached at the first of these epochs. `compound=True` takes it
      literally. Where the readings differ, a warning states both.
    - Pruning at the end of epoch e becomes an event before epoch e + 1. After the last epoch
      nothing could train what is left, so that event comes one epoch earlier.
    - `use_lottery_ticket_hypothesis` becomes `Rewind(to=0, weights=True)`: the optimizer and its
      schedule start again as well, which `ModelPruning` leaves as they are.
    - `parameters_to_prune` becomes a `LayerFilter`. `ModelPruning` counts a share of what is
      listed; ours is a share of the whole network and is computed from it. Without a list it
      also prunes norms and biases, which stay here.
    - `make_pruning_permanent` has no counterpart: checkpoints always hold plain weights.

    Arguments:
        setup: A `ModelPruning` of `pytorch_lightning` or `lightning.pytorch` that was in no fit
            yet, or a mapping of its keyword arguments.
        max_epochs: Of the Trainer.
        model: The LightningModule; needed where `parameters_to_prune` is given.
        compound: Whether `amount` is taken literally.

    Raises:
        ValueError: The set-up has a part without counterpart, which is named, or prunes nothing.
        TypeError: It is no such set-up.
    """
    old = _callback(setup)
    epochs = _epochs(old, max_epochs)
    keeps = _keeps(old, epochs, compound)
    layers, share = _layers(list(old._parameters_to_prune or ()), model)
    last = max_epochs - 1
    targets = {min(e + 1, last): round(1 - (1 - keep) * share, 12) for e, keep in keeps.items()}
    rewinds = {bool(_at(old._use_lottery_ticket_hypothesis, epoch)) for epoch in keeps}
    if len(rewinds) == 2:
        raise _unsupported("use_lottery_ticket_hypothesis at some of the prunings only")
    if rewinds == {True} and old._resample_parameters:
        raise _unsupported("resample_parameters")
    return Pruning(
        _method(old),
        Steps(targets),
        layers=layers,
        rewind=Rewind(to=0, weights=True) if rewinds == {True} else None,
        verbose=bool(old._verbose),
    )


def _callback(setup: object) -> Any:
    if isinstance(setup, Mapping):
        from pytorch_lightning.callbacks import ModelPruning

        return ModelPruning(**setup)
    for kind in type(setup).__mro__:
        if kind.__name__ == "ModelPruning" and kind.__module__.endswith("callbacks.pruning"):
            return setup
        for name in OVERRIDABLE:
            if name in vars(kind):
                raise _unsupported(f"the method {name} of {kind.__name__}")
    raise TypeError(
        f"from_model_pruning takes a ModelPruning or a mapping of its arguments, not {setup!r}."
    )


def _epochs(old: Any, max_epochs: int) -> list[int]:
    """At the end of which epochs it prunes."""
    epochs = [e for e in range(max_epochs) if _at(old._apply_pruning, e) and _at(old.amount, e)]
    if not epochs:
        raise ValueError(
            f"This ModelPruning prunes at none of {max_epochs} epochs, so leave it out."
        )
    return epochs


def _keeps(old: Any, epochs: list[int], compound: bool) -> dict[int, float]:
    """By epoch, the share of what it lists that is to be left."""
    amounts = {epoch: _at(old.amount, epoch) for epoch in epochs}
    for amount in amounts.values():
        if isinstance(amount, int):
            raise _unsupported(f"amount={amount} as a number of weights (a float is a share)")
        if not 0 < amount < 1:
            raise ValueError(f"amount={amount} is not a share in (0, 1) that can be removed.")
    left = [1 - amount for amount in amounts.values()]
    literal = math.prod(left)
    if compound:
        return {epoch: math.prod(left[: i + 1]) for i, epoch in enumerate(epochs)}
    if literal < min(left):
        warnings.warn(
            f"ModelPruning's amount is read as the sparsity in the end, {keep_text(min(left))} of "
            f"what it prunes; literally it is removed anew at {len(epochs)} epochs, down to keep "
            f"{literal:.2g}, which compound=True asks for.",
            stacklevel=3,
        )
    falls = [keep < min(left[:i], default=1.0) for i, keep in enumerate(left)]
    return {e: keep for e, keep, new in zip(epochs, left, falls, strict=True) if new}


def _method(old: Any) -> Method:
    function = getattr(old.pruning_fn, "func", old.pruning_fn)
    options = getattr(old.pruning_fn, "keywords", {})
    name = function.__name__.lower().replace("_", "")
    across = Threshold() if old._use_global_unstructured else Uniform()
    if name in ("l1unstructured", "randomunstructured") and _of_torch(function):
        return Method(Magnitude() if name[0] == "l" else Random(), Weights(), across)
    if name not in ("lnstructured", "randomstructured") or not _of_torch(function):
        raise _unsupported(f"pruning_fn={function.__name__}")
    if options["dim"] != 0:
        raise _unsupported(f"pruning_dim={options['dim']} (0, the outputs, is)")
    norm = options.get("n", 2)
    if isinstance(norm, str):
        raise _unsupported(f"pruning_norm={norm!r}")
    criterion: Criterion = Magnitude(float(norm)) if name[0] == "l" else Random()
    return Method(criterion, Filters(), Uniform())


def _layers(
    listed: list[tuple[nn.Module, str]], model: nn.Module | None
) -> tuple[LayerFilter | None, float]:
    """The choice of layers, and their share of the network; without a list both are open."""
    if not listed:
        return None, 1.0
    if model is None:
        raise ValueError("parameters_to_prune holds modules: give model=... to find their names.")
    names = {module: plain_name(name) for name, module in model.named_modules()}
    chosen: dict[str, int] = {}
    for module, tensor in listed:
        if module not in names:
            raise ValueError(f"parameters_to_prune lists a module that is not in model: {module}.")
        if tensor != "weight" or not isinstance(module, PRUNABLE):
            raise _unsupported(f"pruning {tensor!r} of {names[module]!r}, {module}")
        chosen[names[module]] = cast("nn.Parameter", module.weight).numel()
    return LayerFilter(include=list(chosen)), sum(chosen.values()) / dense_parameters(model)


def _at(value: Any, epoch: int) -> Any:
    return value(epoch) if callable(value) else value


def _of_torch(function: Any) -> bool:
    return function.__module__ == "torch.nn.utils.prune"


def _unsupported(what: str) -> ValueError:
    return ValueError(f"Pruning has no counterpart of ModelPruning's {what}.")
