"""Plots of a fit are images where a logger shows figures, and change nothing of the training."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from classifiers import Scored, fit, loader, trainer
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

import lightning_prune.plots
from lightning_prune import Pruning, Steps
from lightning_prune.cli.train import main
from lightning_prune.configs import compose
from lightning_prune.training.images import DRAWN, MOST, draw_event, is_drawn

pytest.importorskip("tensorboard", reason="the optional package tensorboard is not installed")

EVENTS = Steps({1: 0.6, 2: 0.3})


class Named(Scored):
    """Says which metric compares it, as the tasks do."""

    main_metric = "score"

    def validation_step(self, batch, batch_idx):
        self.log("val/score", -self.net(batch[0]).square().mean())


class Recorder:
    """A logger's experiment that keeps what it is given, where figures are not looked at."""

    def __init__(self) -> None:
        self.added: list[tuple[str, int, float]] = []

    def add_figure(self, tag, figure, step) -> None:
        self.added.append((tag, step, figure.get_figwidth()))


class Recording(CSVLogger):
    """A logger of another kind that shows figures."""

    shown: Recorder | None = None

    @property
    def experiment(self):
        self.shown = self.shown or Recorder()
        self.shown.log_metrics = super().experiment.log_metrics
        self.shown.save = super().experiment.save
        return self.shown


def pruning(schedule=EVENTS, **options):
    return Pruning("magnitude", schedule, verbose=False, **options)


def board(folder: str | Path) -> TensorBoardLogger:
    return TensorBoardLogger(str(folder), name="logs")


def images(folder: Path) -> dict[str, list[tuple[int, Image.Image]]]:
    """By tag: (step, image) of every one in the event files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[int, Image.Image]]] = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), size_guidance={"images": 0}).Reload()
        for tag in events.Tags()["images"]:
            for image in events.Images(tag):
                drawing = Image.open(io.BytesIO(image.encoded_image_string))
                drawing.load()
                found.setdefault(tag, []).append((image.step, drawing))
    return found


def steps(found: dict[str, list[tuple[int, Image.Image]]]) -> dict[str, list[int]]:
    return {tag: [step for step, _ in drawn] for tag, drawn in found.items()}


def drawings(found: dict[str, list[tuple[int, Image.Image]]]) -> Iterator[Image.Image]:
    return (image for drawn in found.values() for _, image in drawn)


@pytest.mark.parametrize("planned", [1, 2, DRAWN, DRAWN + 1, 100, 10_000])
def test_of_many_events_some_are_drawn_and_the_last_one_is(planned: int):
    drawn = [number for number in range(1, planned + 1) if is_drawn(number, planned)]
    assert len(drawn) == min(planned, DRAWN)
    assert drawn[-1] == planned
    gaps = {later - earlier for earlier, later in pairwise(drawn)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_tensorboard_shows_the_layers_at_events_and_the_curve_at_the_end(tmp_path: Path):
    fit(Named(), pruning(), logger=board(tmp_path))
    found = images(tmp_path)
    # four batches an epoch; at the end of three epochs the last of them again
    assert steps(found) == {"prune/layers": [4, 8, 12], "prune/curve": [12]}
    for image in drawings(found):
        assert image.format == "PNG"
        assert 200 < image.width < 1200
        assert 200 < image.height < 1200
        low, high = image.convert("L").getextrema()
        assert high - low > 100, "the image is blank"


def test_without_a_main_metric_there_is_no_curve(tmp_path: Path):
    fit(Scored(), pruning(), logger=board(tmp_path))
    assert set(images(tmp_path)) == {"prune/layers"}


def test_a_control_has_nothing_to_show(tmp_path: Path):
    fit(Named(), Pruning("none", EVENTS, verbose=False), logger=board(tmp_path))
    assert images(tmp_path) == {}


def test_a_schedule_of_many_events_has_few_images_of_bounded_size(tmp_path: Path):
    schedule = Steps({at: 1 - at / 100 for at in range(1, 60)}, unit="step")
    logger = Recording(tmp_path)
    fit(Named(), pruning(schedule), logger=logger, max_epochs=15)
    assert len(logger.shown.added) == MOST
    assert [entry[:2] for entry in logger.shown.added[-2:]] == [
        ("prune/layers", 60),
        ("prune/curve", 60),
    ]
    assert max(width for _, _, width in logger.shown.added) < 20  # inches


def test_images_change_no_weight_and_draw_no_random_number(tmp_path: Path):
    left = []
    for logger in (False, board(tmp_path)):
        torch.manual_seed(3)
        module = Named()
        fit(module, pruning(), logger=logger)
        left.append([*module.parameters(), torch.get_rng_state()])
    assert all(torch.equal(one, other) for one, other in zip(*left, strict=True))


def test_a_resumed_fit_has_the_images_that_were_still_to_come(tmp_path: Path):
    def options(name: str):
        return {"logger": board(tmp_path / name), "enable_checkpointing": True}

    saver = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(Named(), pruning(), saver, **options("first"))
    again, callback = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1), pruning()
    run = trainer(callback, again, **options("second"))
    run.fit(Named(), loader(), loader(32), ckpt_path=tmp_path / "epoch=1.ckpt")
    first, second = images(tmp_path / "first"), images(tmp_path / "second")
    assert steps(second) == {"prune/layers": [8, 12], "prune/curve": [12]}
    for tag, drawn in second.items():
        for (_, one), (_, other) in zip(first[tag][-len(drawn) :], drawn, strict=True):
            assert one.tobytes() == other.tobytes()


def test_other_loggers_and_other_ranks_draw_nothing(tmp_path: Path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a figure was made for nobody")

    monkeypatch.setattr(lightning_prune.plots, "plot_layers", refuse)
    monkeypatch.setattr(lightning_prune.plots, "plot_curve", refuse)
    callback = pruning()
    fit(Named(), callback, logger=CSVLogger(tmp_path))
    logger = SimpleNamespace(experiment=Recorder())
    other = SimpleNamespace(is_global_zero=False, loggers=[logger], global_step=1)
    draw_event(other, callback.events, 2, "prune/layers")
    assert logger.experiment.added == []


def test_the_command_line_takes_several_loggers(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv",
        ["lightning-prune", "logger=[csv,tensorboard]", "trainer=debug", "data=synthetic",
         "model=lenet_300_100", "control=false", f"hydra.run.dir={tmp_path}"],
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    main()
    assert steps(images(tmp_path)) == {"prune/layers": [2, 4, 6], "prune/curve": [6]}
    (written,) = tmp_path.rglob("metrics.csv")
    with written.open(newline="") as file:
        keeps = [float(row["prune/keep"]) for row in csv.DictReader(file) if row["prune/keep"]]
    assert keeps[0] == 1.0
    assert keeps[-1] == pytest.approx(0.1, abs=1e-4)


def test_wandb_is_offline_and_mlflow_goes_where_the_environment_says(monkeypatch):
    cfg = compose("train", "logger=[wandb,mlflow]")
    assert cfg.logger.wandb.offline is True
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert cfg.logger.mlflow.tracking_uri == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert cfg.logger.mlflow.tracking_uri == "http://localhost:5000"
