"""Shipping: the network of a run, built again, made smaller, written in formats and compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from lightning_prune.cli.checks import short
from lightning_prune.cli.experiment import Experiment
from lightning_prune.cli.manifest import Manifest
from lightning_prune.cli.scores import Scores
from lightning_prune.cli.speed import usable_device
from lightning_prune.evaluation.size import first_sample
from lightning_prune.export import (
    Exported,
    export_onnx,
    export_program,
    onnx_runner,
    program_runner,
    save_thin,
)
from lightning_prune.folder import RunFolder
from lightning_prune.network.batches import example_batch, network_input
from lightning_prune.thinning import thin_out

NAMED = 3  # layers in a note
# whose metrics depend on the network's outputs alone
PLAIN_TASKS = ("Classification", "Regression", "Tagging")
Runner = Callable[[Any], list[Tensor]]


def ship(
    cfg: DictConfig,
    folder: Path,
    checkpoint: Path,
    output: Path,
    formats: Sequence[str],
    device: str = "cpu",
    opset: int | None = None,
) -> None:
    """Write a run's network in formats, compare them, and say what came of it.

    Arguments:
        cfg: Of the run.
        folder: Of the run.
        checkpoint: Of the pruned network.
        output: Where everything goes.
        formats: Of `thin`, `onnx`, `program`.
        device: Where torch measures and tests.
        opset: Of ONNX.

    Raises:
        ValueError: The checkpoint is of another network, or the device is not there.
    """
    place = usable_device(device)
    with open_dict(cfg):
        cfg.trainer.accelerator = "cpu" if place.type == "cpu" else "gpu"
    experiment = Experiment(cfg, folder)
    scores = Scores(experiment)
    scores.data.prepare_data()
    scores.data.setup("fit")
    example = network_input(example_batch(scores.data.train_dataloader()))
    masked, small = _loaded(scores, checkpoint), _loaded(scores, checkpoint)
    manifest = Manifest(scores, output, example, place)
    if checkpoint.name != "final.ckpt":
        manifest.note(f"the network is that of {short(checkpoint)}")
    dense = experiment.before.cycle(0)
    known = RunFolder(folder).read_report()
    if dense.is_file():
        manifest.add("dense", _loaded(scores, dense))
    else:
        metrics = (known["dense"] or {}).get("metrics", {})
        manifest.add("dense", experiment.task(), metrics=metrics)
        manifest.note("the dense network has random weights here, and the metrics of the report")
    method = experiment.pruned.method
    factored = method is not None and method.structure.changes_parameters
    size = sum(p.numel() for p in network_of(masked).parameters())
    smaller = size < manifest.rows["dense"]["params"]
    if factored or not smaller:  # else units were taken out in training
        manifest.add("factored" if factored else "masked", masked)
    for note in _thinned(small, example, smaller):
        manifest.note(note)
    written = _write_thin(cfg, small, example, output, manifest) if "thin" in formats else None
    manifest.add("thin", small, written)
    net = network_of(small)
    for name, export, run in (
        ("onnx", _onnx(opset), onnx_runner),
        ("program", export_program, program_runner),
    ):
        if name in formats:
            path = output / ("model.onnx" if name == "onnx" else "model.pt2")
            _export(name, net, example, path, export, run, small, manifest)
    manifest.finish(known, checkpoint.name)


def network_of(task: pl.LightningModule) -> nn.Module:
    """What a task trains: its `net`, or the task itself."""
    net = getattr(task, "net", None)
    return net if isinstance(net, nn.Module) else task


def _loaded(scores: Scores, checkpoint: Path) -> pl.LightningModule:
    try:
        return scores.load(checkpoint).eval()
    except (RuntimeError, KeyError, TypeError) as error:
        lines = [line.strip(" \t.") for line in str(error).splitlines()]
        told = "; ".join(lines[1:3] or lines)  # torch's first line of several is a heading
        raise ValueError(f"{short(checkpoint)} is of another network: {told}.") from error


def _thinned(task: pl.LightningModule, example: Any, smaller: bool) -> list[str]:
    """Take out of the network what can leave it; why something stays."""
    net = network_of(task)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what stays is told below
            done = thin_out(net, example, inplace=True)
    except ValueError as error:
        # what is smaller already needs no zeros
        return [] if smaller else [f"the thin network is the masked one: {error}"]
    notes = [f"{name} keeps filters that are zero: {why}" for name, why in done.stays.items()]
    if len(notes) > NAMED:
        notes = [*notes[:NAMED], f"{len(notes) - NAMED} more layers keep filters that are zero"]
    return notes


def _write_thin(
    cfg: DictConfig, task: pl.LightningModule, example: Any, output: Path, manifest: Manifest
) -> Exported | None:
    net = network_of(task)
    own: Any = OmegaConf.to_container(cfg.task, resolve=True)
    dense = own if net is task else own.get("net")
    told = {"method": manifest.method, "seed": cfg.get("seed")}
    try:
        save_thin(net, output / "thin", example=example, dense=dense, extra=told)
    except (ValueError, TypeError) as error:
        manifest.note(f"there is no thin folder: {error}")
        return None
    size = sum(path.stat().st_size for path in (output / "thin").iterdir())
    return Exported(output / "thin", size, 0.0)


def _export(  # noqa: PLR0913
    name: str,
    net: nn.Module,
    example: Any,
    path: Path,
    export: Callable[..., Exported],
    runner: Callable[[Path], Runner],
    task: pl.LightningModule,
    manifest: Manifest,
) -> None:
    """One file; where the number of samples cannot be free, it is for one sample."""
    path.unlink(missing_ok=True)  # of an earlier call
    free, net = True, net.cpu()
    try:
        try:
            done = export(net, example, path)
        except ValueError as error:
            done, free = export(net, first_sample(example), path, dynamic_batch=False), False
            manifest.note(
                f"{path.name} takes one sample at a time: {str(error).partition('; dynamic')[0]}"
            )
    except (ValueError, ImportError) as error:
        manifest.note(f"there is no {path.name}: {error}")
        return
    if done.note:
        manifest.note(f"{path.name} was not compared with the network: {done.note}")
    try:
        run = runner(path)
    except ImportError as error:
        manifest.note(f"{path.name} is not measured: {error}")
        return
    plain = type(task).__name__ in PLAIN_TASKS and not hasattr(net, "tally")
    if not plain:
        manifest.note(f"{path.name} is not tested: the metric takes more than a forward")
    manifest.add_file(name, done, run, tested=task if plain and free else None)


def _onnx(opset: int | None) -> Callable[..., Exported]:
    return lambda net, example, path, **how: export_onnx(net, example, path, opset=opset, **how)
