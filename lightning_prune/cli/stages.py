"""Stages: train the pruned network and its dense control, from wherever a run stopped."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_prune.cli.checkpoints import StageCheckpoints, check_fits
from lightning_prune.cli.checks import short, source
from lightning_prune.cli.experiment import Experiment, Stage
from lightning_prune.cli.progress import EpochBar
from lightning_prune.training import PlanarImages
from lightning_prune.training.checkpoints import damage, latest_checkpoint

# of a run: what is set aside when the same command starts again
RESULTS = ("checkpoints", "control", "plots", "logs", "export", "config.yaml")
FILES = ("events.csv", "layers.csv", "report.json", "rows.csv", "speed.csv", "error.txt")


def prepare(experiment: Experiment) -> Path | None:
    """Make the run folder ready, and say what to go on from.

    A run from the start sets aside what an earlier one left in the folder. A run that goes on
    from another folder takes over that folder's checkpoints first.

    Returns:
        The checkpoint of the pruned network to go on from; None: from the start.
    """
    folder = experiment.folder
    folder.mkdir(parents=True, exist_ok=True)
    place = source(experiment.cfg.ckpt_path, folder)
    own = experiment.pruned.checkpoints
    if first_process():
        _arrange(experiment, place)
    if place is None or place.is_file():
        return place
    latest = latest_checkpoint(own if own.is_dir() else place)
    if latest is None:
        raise ValueError(f"No checkpoint in {place} is whole; start again without ckpt_path.")
    return latest


def first_process() -> bool:
    """Whether this is rank 0; known before a Trainer is, from what launches the others."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0


def _arrange(experiment: Experiment, place: Path | None) -> None:
    """Set aside what is not gone on from, and take over what is."""
    folder, own = experiment.folder, experiment.pruned.checkpoints
    if place is None:
        # a run of a sweep that broke before its first checkpoint has nothing to keep
        if not experiment.quiet or any(own.glob("*.ckpt")):
            _set_aside(folder)
        return
    theirs = place.resolve() if place.is_dir() else place.resolve().parent
    if theirs == own.resolve():
        return
    _set_aside(folder)
    if theirs.name == "checkpoints":
        shutil.copytree(theirs, own)
        if (theirs.parent / "control").is_dir():
            shutil.copytree(theirs.parent / "control", folder / "control")


def train_all(experiment: Experiment, start: Path | None) -> bool:
    """Train the dense phase, the pruned network and the control, as far as they are not there.

    What runs of a sweep share is trained by the first of them; others wait for it.

    Arguments:
        experiment: The run.
        start: The checkpoint of the pruned network to go on from, or None.

    Returns:
        Whether there is a control.
    """
    before = experiment.before
    if before.shared and start is None:
        train_dense(experiment)
        start = before.dense
    train(experiment, experiment.pruned, start)
    if experiment.separate is not None:
        train_dense(experiment.separate)
    if not has_control(experiment):
        return False
    control = experiment.control
    if not control.shared:
        train(experiment, control, control_start(experiment, start))
        return True
    with alone(control.folder, "the dense control"):
        if not _whole(control.final):
            dense = before.dense if before.dense.is_file() else None
            train(experiment, control, _latest(control) or dense)
    return True


def train_dense(experiment: Experiment) -> None:
    """Train the shared dense network, unless another run did."""
    before = experiment.before
    with alone(before.folder, "the dense network"):
        if not _whole(before.dense):
            train(experiment, before, _latest(before))


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Inside, no other process works in the folder; the system ends the lock of a killed one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Waiting for {what} that another run is at work on.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _whole(path: Path) -> bool:
    return path.is_file() and damage(path) is None


def _latest(stage: Stage) -> Path | None:
    return latest_checkpoint(stage.checkpoints) if stage.checkpoints.is_dir() else None


def train(experiment: Experiment, stage: Stage, start: Path | None) -> None:
    """Train a stage to its end, unless it is there already.

    Arguments:
        experiment: The run.
        stage: Which training.
        start: The checkpoint to go on from, or None.
    """
    if start is not None and start == stage.final:
        print(f"The {stage.name} network is finished already.")
        return
    task = experiment.task()
    if start is not None:
        check_fits(start, task)
    callbacks = [
        EpochBar(stage.name),
        experiment.pruning(stage),
        PlanarImages(),
        StageCheckpoints(stage, experiment.schedule),
    ]
    trainer = experiment.trainer(stage, callbacks)
    try:
        trainer.fit(task, datamodule=experiment.data(), ckpt_path=start)
    except SystemExit:  # Lightning's answer to Ctrl-C
        how = "" if experiment.quiet else " with ckpt_path=last"
        print(f"Stopped; the same command{how} goes on.", file=sys.stderr)
        raise
    if not stage.stops:
        trainer.save_checkpoint(stage.final)


def control_start(experiment: Experiment, pruned_start: Path | None) -> Path | None:
    """The checkpoint that the control goes on from: its own newest, else the dense prefix.

    Returns:
        None: there is no dense prefix, because the first event is before the first epoch.
    """
    stage = experiment.control
    if pruned_start is not None and stage.checkpoints.is_dir():
        latest = latest_checkpoint(stage.checkpoints)
        if latest is not None:
            return latest
    return experiment.pruned.dense if experiment.pruned.dense.is_file() else None


def has_control(experiment: Experiment) -> bool:
    """Whether a control is asked for, and comparable: with the dense prefix, or from scratch."""
    if not experiment.cfg.control or experiment.pruned.method is None:
        return False
    if experiment.control.shared:
        return True
    if experiment.pruned.dense.is_file() or experiment.schedule.due(-1, 0) is not None:
        return True
    if experiment.control.final.is_file():
        return True
    warnings.warn(
        "There is no dense control: the checkpoint from which this run went on lies behind the "
        "first event, and no dense.ckpt beside it; give the run's folder as ckpt_path.",
        stacklevel=2,
    )
    return False


def _set_aside(folder: Path) -> None:
    """Move what an earlier run left into `earlier/1`, `earlier/2`, ...: nothing is lost."""
    found = [folder / name for name in (*RESULTS, *FILES) if (folder / name).exists()]
    if not found:
        return
    number = 1
    while (folder / "earlier" / str(number)).exists():
        number += 1
    target = folder / "earlier" / str(number)
    target.mkdir(parents=True)
    for path in found:
        os.replace(path, target / path.name)
    print(f"An earlier run of the same command is kept in {short(target)}.")
