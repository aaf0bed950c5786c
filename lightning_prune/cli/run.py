"""A run: train, train the control, test, measure, report. Torch is imported from here on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from lightning_prune.cli.experiment import Experiment
from lightning_prune.cli.identity import evaluation_identity, settings
from lightning_prune.cli.pictures import analyse
from lightning_prune.cli.scores import Scores
from lightning_prune.cli.shifts import check_evaluation, evaluate, pending
from lightning_prune.cli.stages import first_process, prepare, train_all, train_dense
from lightning_prune.cli.summary import draw, finish, show
from lightning_prune.cli.surface import check_surface, measure_surface
from lightning_prune.folder import RunFolder
from lightning_prune.methods import method_name

# Lightning's advice that a small run does not follow on purpose, and what it says about itself
ADVICE = (
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*isinstance.treespec, LeafSpec.*",
)


def run(cfg: DictConfig, folder: Path, sweep: Path | None = None) -> float | None:
    """One whole run.

    Arguments:
        cfg: The composed and checked config.
        folder: Where everything goes.
        sweep: Folder of the sweep that the run is part of; None: it is a run of its own.

    Returns:
        The main metric of the pruned network on the test set; None on other processes than the
        first.
    """
    with quiet(), threads(cfg.threads):
        experiment = Experiment(cfg, folder, sweep)
        check_surface(experiment)
        check_evaluation(experiment)
        start = prepare(experiment)
        results = RunFolder(folder)
        if first_process():
            begin(results, experiment)
        control = train_all(experiment, start)
        if torch.distributed.is_initialized():  # one process tests, on its own
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
        if not first_process():
            return None
        scores = Scores(experiment)
        report = finish(results, experiment, scores, control)
        draw(report, folder)
        report = analyse(results, experiment, scores, report)
        if cfg.flatness:
            report = measure_surface(results, experiment, scores, report)
        report = evaluate(results, experiment, scores, report)
        if sweep is None:
            show(report, folder)
    metric = report["extra"].get("main_metric")
    return report["final"]["metrics"].get(metric)


def evaluate_finished(cfg: DictConfig, folder: Path, sweep: Path) -> bool:
    """Evaluate a finished run on what is asked for now and was not asked for then.

    Returns:
        Whether there was anything to do.
    """
    if evaluation_identity(cfg) is None:
        return False
    with quiet(), threads(cfg.threads):
        experiment, results = Experiment(cfg, folder, sweep), RunFolder(folder)
        if not pending(experiment, results):
            return False
        check_evaluation(experiment)
        if experiment.separate is not None:
            train_dense(experiment.separate)
        evaluate(results, experiment, Scores(experiment), results.read_report())
    return True


def begin(results: RunFolder, experiment: Experiment) -> None:
    """Write down what is run, before it runs."""
    resolved = settings(experiment.cfg)
    (results.path / "config.yaml").write_text(OmegaConf.to_yaml(resolved))
    results.update_report(
        method=method_name(experiment.pruned.method),
        seed=experiment.cfg.seed,
        measure=measure if isinstance(measure := experiment.cfg.measure, str) else "latency",
        environment=experiment.environment(),
        config=resolved,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's lines about devices and its advice for long trainings."""
    names = ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        for advice in ADVICE:
            warnings.filterwarnings("ignore", advice)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """As many threads of torch as asked for, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
