"""Subjects of a bench: the networks behind a run folder, a thin module or a name."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from lightning_prune.cli.bench import kind
from lightning_prune.cli.checks import short
from lightning_prune.cli.experiment import Experiment
from lightning_prune.cli.scores import Scores
from lightning_prune.folder import RunFolder
from lightning_prune.network.batches import call, example_batch, network_input


@dataclass
class Subject:
    """Networks that are compared.

    Arguments:
        title: Of the table.
        models: By name, the dense one first.
        example: A batch of inputs.
        notes: On how they came about.
        results: Where rows go besides; None: nowhere.
    """

    title: str
    models: dict[str, nn.Module]
    example: Any
    notes: list[str] = field(default_factory=list)
    results: RunFolder | None = None


def subject(text: str, method: str = "filter_norm", keep: float | None = None) -> Subject:
    """The networks that an argument of the command stands for.

    Arguments:
        text: A folder, or `torchvision:NAME@PIXELS`.
        method: By which a torchvision model is pruned.
        keep: To this share; None: it stays dense.

    Raises:
        ValueError: It is of no kind that is known, or cannot be loaded.
        FileNotFoundError: A file is missing.
    """
    found = kind(text)
    if found == "torchvision":
        return _by_name(text, method, keep)
    return _thin(Path(text)) if found == "thin" else _run(Path(text))


def _run(folder: Path) -> Subject:
    """The dense network before the first event, the final one, and what thinning makes of it."""
    experiment = Experiment(OmegaConf.load(folder / "config.yaml"), folder)  # type: ignore[arg-type]
    final = experiment.pruned.final
    if not final.is_file():
        raise FileNotFoundError(
            f"The run in {short(folder)} is not finished: it has no {final.name}; the same command "
            "with ckpt_path=last goes on."
        )
    scores = Scores(experiment)
    dense = experiment.before.cycle(0)
    before = scores.load(dense) if dense.is_file() else experiment.task()
    after = scores.load(final)
    scores.data.prepare_data()
    scores.data.setup("fit")
    example = network_input(example_batch(scores.data.train_dataloader()))
    method = experiment.pruned.method
    factored = method is not None and method.structure.changes_parameters
    found = Subject(f"{experiment.cfg.name}: {short(folder)}", {"dense": before}, example)
    found.results = RunFolder(folder)
    if _shapes(after) != _shapes(before) and not factored:
        found.models["thin"] = after  # its units were removed in training
        return found
    found.models["factored" if factored else "masked"] = after
    return _thinned(found, after)


def _thinned(found: Subject, masked: nn.Module) -> Subject:
    """With the thin network, or with a note on why there is none."""
    from lightning_prune.thinning import thin

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found.models["thin"] = thin(masked.eval(), found.example)
        except ValueError as error:
            found.notes.append(f"there is no thin network: {error}")
    found.notes += [str(warning.message) for warning in told if warning.category is UserWarning]
    return found


def _thin(folder: Path) -> Subject:
    """The thin module, and the dense one that it was cut from, with weights of its own."""
    from lightning_prune.export import load_thin
    from lightning_prune.export.rebuild import rebuild
    from lightning_prune.folder import RunFolder as Files

    record = Files(folder).read_json("widths.json")
    thin = load_thin(folder).eval()
    models = {"dense": rebuild(record.get("model")).eval(), "thin": thin}
    if record.get("example") is None:
        raise ValueError(
            f"The thin module in {short(folder)} has no example; save it with example=..."
        )
    notes = ["the dense network has random weights"]
    return Subject(f"thin: {short(folder)}", models, _drawn(record["example"]), notes)


def _by_name(text: str, method: str, keep: float | None) -> Subject:
    """A model of torchvision with random weights; pruned, if a share is given."""
    from torchvision.models import get_model

    name, _, pixels = text.removeprefix("torchvision:").partition("@")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # weights that are initialised otherwise
        dense = get_model(name, weights=None).eval()
    example = torch.randn(2, 3, int(pixels), int(pixels))
    try:
        with torch.inference_mode():
            call(dense, example)
    except RuntimeError as error:
        raise ValueError(f"{name} does not take images of {pixels} pixels: {error}") from error
    found = Subject(text, {"dense": dense}, example)
    if keep is None:
        return found
    from lightning_prune.prune import prune

    masked = copy.deepcopy(dense)
    told = prune(masked, method, keep, example=example)
    found.notes += [f"{told.method}: {note}" for note in told.notes]
    found.models["masked"] = masked
    return _thinned(found, masked)


def _drawn(shapes: Any) -> Any:
    """Random inputs of noted shapes and types; whole numbers are zeros."""
    if isinstance(shapes, dict) and set(shapes) == {"shape", "dtype"}:
        dtype = getattr(torch, shapes["dtype"])
        if dtype.is_floating_point:
            return torch.randn(shapes["shape"], dtype=dtype)
        return torch.zeros(shapes["shape"], dtype=dtype)
    if isinstance(shapes, dict):
        return {name: _drawn(entry) for name, entry in shapes.items()}
    return tuple(_drawn(entry) for entry in shapes) if isinstance(shapes, list) else shapes


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.named_parameters()}
