"""Experiment: the objects that a config describes, made anew for every stage of a run."""

from __future__ import annotations

import copy
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from lightning_prune import __version__
from lightning_prune.cli.identity import control_identity, dense_identity
from lightning_prune.methods import Method
from lightning_prune.schedules import Schedule, Steps
from lightning_prune.training import Pruning, Rewind

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


@dataclass(frozen=True)
class Stage:
    """A training of the run: of the pruned network, of its dense control, or of the dense phase.

    Arguments:
        name: What it is called while it works.
        folder: Where it leaves its files.
        method: None for the control and the dense phase.
        stops: It ends just before the first event.
        shared: It is trained once for all runs of a sweep that have it.
    """

    name: str
    folder: Path
    method: Method | None
    stops: bool = False
    shared: bool = False

    @property
    def checkpoints(self) -> Path:
        """Its checkpoints' folder."""
        return self.folder / "checkpoints"

    @property
    def dense(self) -> Path:
        """The checkpoint just before the first event, which the control goes on from."""
        return self.checkpoints / "dense.ckpt"

    @property
    def final(self) -> Path:
        """The checkpoint after the last epoch; that it is there says that the stage is over."""
        return self.dense if self.stops else self.checkpoints / "final.ckpt"

    def cycle(self, events: int) -> Path:
        """The weights at the end of the cycle that the n-th event began; of 0, the dense ones."""
        return self.checkpoints / "cycles" / f"event_{events:02d}.pt"


class Experiment:
    """What a config describes.

    Arguments:
        cfg: The composed config.
        folder: Of the run.
        sweep: Folder of the sweep that the run is part of, for what its runs share; None: it is
            a run of its own.
    """

    def __init__(self, cfg: DictConfig, folder: Path, sweep: Path | None = None) -> None:
        self.cfg = cfg
        self.folder = folder
        self.schedule: Schedule = instantiate(cfg.schedule)
        self.rewind: Rewind | None = instantiate(cfg.rewind) or None
        self.epochs: int | None = cfg.trainer.get("max_epochs")
        if cfg.debug:
            self._shorten()
        # a table without entries is how yaml says that there is no method
        self.pruned = Stage("pruned", folder, instantiate(cfg.method) or None)
        self.control = Stage("control", folder / "control", None)
        # the stage that trains the network until the first event
        self.before = self.pruned
        self.quiet = sweep is not None
        if sweep is not None and cfg.share:
            self._share(sweep)
        self.separate = self._apart(sweep)

    def _apart(self, sweep: Path | None) -> Experiment | None:
        """A dense network of another seed, if one is to be compared with: shared by its seed."""
        seed = (self.cfg.get("evaluation") or {}).get("separate")
        if seed is None or seed == self.cfg.seed or min(self.schedule.targets()) == 0:
            return None
        cfg = copy.deepcopy(self.cfg)
        with open_dict(cfg):
            cfg.update(seed=seed, share=True)
            cfg.evaluation.separate = None
        return Experiment(cfg, self.folder, sweep or self.folder)

    def _share(self, sweep: Path) -> None:
        """The dense phase, if there is one, and the control have folders of their own."""
        times, unit = self.schedule.targets(), self.schedule.unit
        control = sweep / "control" / control_identity(self.cfg, times, unit)
        self.control = Stage("control", control, None, shared=True)
        if min(times) > 0:
            dense = sweep / "dense" / dense_identity(self.cfg, min(times), unit)
            self.before = Stage("dense", dense, None, stops=True, shared=True)

    def _shorten(self) -> None:
        """The first and the last event only, one epoch apart, whatever the schedule says."""
        keeps = list(self.schedule.targets().values())
        keeps = [keeps[0], keeps[-1]] if len(keeps) > 1 else keeps
        self.schedule = Steps(dict(enumerate(keeps, 1)))
        self.epochs = len(keeps) + 1
        if self.rewind:
            self.rewind = Rewind(
                0, self.rewind.weights, self.rewind.optimizer, self.rewind.schedulers
            )

    def task(self) -> pl.LightningModule:
        """A fresh LightningModule; the same seed, the same weights."""
        pl.seed_everything(self.cfg.seed, workers=True, verbose=False)
        return instantiate(self.cfg.task)

    def data(self) -> pl.LightningDataModule:
        """A fresh data module."""
        return instantiate(self.cfg.data)

    def pruning(self, stage: Stage) -> Pruning:
        """The callback of a stage; the control has the same events, which only rewind."""
        amount = self.cfg.batches
        measure = self.cfg.measure
        told: Any = measure if isinstance(measure, str) else instantiate(measure)
        return Pruning(
            stage.method,
            self.schedule,
            measure=told,
            layers=instantiate(self.cfg.layers),
            batches=amount if isinstance(amount, int) else instantiate(amount),
            recalibrate=self.cfg.recalibrate,
            rewind=self.rewind,
            hold=self.cfg.hold,
            thin=self.cfg.thin,
            folder=stage.folder,
            verbose=stage.method is not None and not self.quiet,
        )

    def trainer(self, stage: Stage, callbacks: list[pl.Callback]) -> pl.Trainer:
        """The Trainer of a stage, which logs into the stage's folder."""
        loggers = [
            instantiate(node, save_dir=str(stage.folder))
            for node in (self.cfg.logger or {}).values()
            if node
        ]
        settings: dict[str, Any] = {
            **QUIET,
            "default_root_dir": str(stage.folder),
            "max_epochs": self.epochs,
        }
        given = self.cfg.trainer
        settings = {k: v for k, v in settings.items() if k not in given or k == "max_epochs"}
        return instantiate(given, callbacks=callbacks, logger=loggers or False, **settings)

    def evaluator(self) -> pl.Trainer:
        """A Trainer that only tests: on one device, without loggers or callbacks."""
        cfg = copy.deepcopy(self.cfg.trainer)
        with open_dict(cfg):
            cfg.update(QUIET, devices=1, logger=False, enable_checkpointing=False)
            cfg.pop("strategy", None)
            cfg.pop("max_epochs", None)
        return instantiate(cfg)

    def environment(self) -> dict[str, Any]:
        """Versions and the kind of machine; no path and no name of it."""
        accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        return {
            "lightning_prune": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pytorch_lightning": pl.__version__,
            "system": f"{platform.system()} {platform.machine()}",
            "threads": torch.get_num_threads(),
            "accelerator": accelerator,
        }
