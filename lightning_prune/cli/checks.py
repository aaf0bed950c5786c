"""Checks: what can be known of a config before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from lightning_prune.training.checkpoints import check_checkpoint


def check(cfg: DictConfig, folder: Path) -> None:
    """Refuse what cannot run.

    Arguments:
        cfg: The composed config.
        folder: Of the run.

    Raises:
        ValueError: A value is out of its range.
        FileNotFoundError: Data or a checkpoint are missing.
        ImportError: A package is.
    """
    _check_numbers(cfg)
    _check_schedule(cfg)
    _check_data(cfg)
    _check_loggers(cfg)
    source(cfg.ckpt_path, folder)


def source(ckpt_path: str | None, folder: Path) -> Path | None:
    """What a run goes on from: a checkpoint, or the folder that has some.

    Arguments:
        ckpt_path: A file, a run folder, a folder of checkpoints, or `last` for the run's own.
        folder: Of the run.

    Returns:
        A file, a folder of checkpoints, or None for a run from the start.

    Raises:
        FileNotFoundError: There is nothing to go on from.
        ValueError: The file is torn, or no checkpoint.
    """
    if ckpt_path is None:
        return None
    place = folder if str(ckpt_path) == "last" else Path(ckpt_path)
    if place.is_file():
        return check_checkpoint(place)
    place = place / "checkpoints" if (place / "checkpoints").is_dir() else place
    if not any(place.glob("*.ckpt")):
        raise FileNotFoundError(
            f"There is no checkpoint in {short(place)} to go on from; run the same command "
            "without ckpt_path first, or give ckpt_path=FILE."
        )
    return place


def short(path: Path) -> str:
    """The path as seen from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _check_numbers(cfg: DictConfig) -> None:
    least_of = {"epochs": 1, "batches": 1, "seed": 0, "flatness": 0, "threads": 1}
    for name, least in least_of.items():
        value = cfg[name]
        if value is None and name == "threads":
            continue
        if name == "batches" and isinstance(value, DictConfig):  # samples; the callback checks them
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is a whole number from {least} on, not {value!r}.")
    _check_evaluation(cfg.get("evaluation") or {})
    # latency tables that were measured before are an object
    if isinstance(cfg.measure, str) and cfg.measure not in ("params", "macs", "latency"):
        raise ValueError(f"measure is 'params' or 'macs' or 'latency', not {cfg.measure!r}.")


def _check_evaluation(asked: Mapping[str, Any]) -> None:
    for name, least in {"images": 1, "noise": 0, "draws": 1, "features": 0, "separate": 0}.items():
        value = asked.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < least
        ):
            raise ValueError(f"evaluation.{name} is a whole number from {least} on, not {value!r}.")
    delta = asked.get("delta", 0.0)
    if isinstance(delta, bool) or not isinstance(delta, int | float) or not delta >= 0:
        raise ValueError(f"evaluation.delta is a number from 0 on, not {delta!r}.")


def _check_schedule(cfg: DictConfig) -> None:
    schedule = instantiate(cfg.schedule)
    limit = cfg.trainer.get("max_epochs" if schedule.unit == "epoch" else "max_steps")
    last = max(schedule.targets())
    # the callback says the same, and more, once there is a Trainer
    if not cfg.debug and limit is not None and 0 <= limit <= last:
        raise ValueError(
            f"The event at {schedule.unit} {last} would never happen: training ends after {limit} "
            f"{schedule.unit}s (times count from 0); prune earlier or set epochs to more."
        )


def _check_data(cfg: DictConfig) -> None:
    name = cfg.data._target_.rpartition(".")[2]
    mixed = "names" in (cfg.data.get("augment") or {})
    if mixed and ("source" in cfg.data or "channels" not in cfg.get("dataset", {})):
        raise ValueError(f"augment=robust corrupts images for classification, and {name} has none.")
    if "path" in cfg.data:
        _check_path(name, cfg.data.path)
    if "root" not in cfg.data or cfg.data.get("download"):
        return
    fetch = ", or data.download=true to fetch it" if "download" in cfg.data else ""
    if cfg.data.root is None:
        raise ValueError(
            f"{name} does not know where its files are: set LIGHTNING_PRUNE_DATA, or give "
            f"data.root=FOLDER{fetch}."
        )
    if not Path(cfg.data.root).expanduser().is_dir():
        raise FileNotFoundError(
            f"The data folder {cfg.data.root} does not exist; give data.root=FOLDER that holds "
            f"{name}{fetch}."
        )


def _check_path(name: str, path: str | None) -> None:
    if path is None:
        raise ValueError(f"{name} needs data.path=PLACE, its file or folder.")
    if not Path(path).expanduser().exists():
        raise FileNotFoundError(f"{path} does not exist; give data.path=PLACE that {name} reads.")


def _check_loggers(cfg: DictConfig) -> None:
    for node in (cfg.logger or {}).values():
        if node and "TensorBoard" in node._target_ and find_spec("tensorboard") is None:
            raise ImportError(
                "logger=tensorboard needs the package tensorboard: "
                "pip install 'lightning-prune[tensorboard]'."
            )
