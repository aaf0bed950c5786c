"""The share is among the metrics, in loggers and files, and with the scores it belongs to."""

import csv
import json

import pytest
from classifiers import SIZE, Classifier, Probe, Scored, fit, loader, nonzero, trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from lightning_prune import Pruning, Steps

EVENTS = Steps({1: 0.6, 2: 0.3})
KEEPS = [1.0, int(0.6 * SIZE) / SIZE, int(0.3 * SIZE) / SIZE]


def pruning(schedule=EVENTS, **options):
    return Pruning("magnitude", schedule, verbose=False, **options)


def shares(trainer, _):
    return float(trainer.callback_metrics["prune/keep"])


def test_the_share_is_a_metric_beside_the_scores_of_the_same_weights():
    """When a checkpoint is chosen, after validation, it is that of the weights validated."""
    at_choice, at_end = Probe("on_validation_end", shares), Probe("on_train_end", shares)
    fit(Scored(), pruning(), at_choice, at_end, num_sanity_val_steps=0)
    assert at_choice.seen == pytest.approx(KEEPS)
    assert at_end.seen == pytest.approx(KEEPS[-1:])


def test_the_share_is_in_the_name_of_a_checkpoint(tmp_path):
    name = "{epoch}-{prune/keep:.2f}"
    saver = ModelCheckpoint(
        tmp_path, name, monitor="val_loss", save_top_k=-1, auto_insert_metric_name=False
    )
    fit(Scored(), pruning(), saver, enable_checkpointing=True)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.ckpt"))
    assert found == ["0-1.00.ckpt", "1-0.60.ckpt", "2-0.30.ckpt"]


def test_the_logger_has_the_share_and_every_layer(tmp_path):
    run = fit(Classifier(), pruning(), logger=CSVLogger(tmp_path), log_every_n_steps=1)
    with open(f"{run.logger.log_dir}/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    written = {round(float(row["prune/keep"]), 4) for row in rows if row["prune/keep"]}
    assert written == {round(keep, 4) for keep in KEEPS}
    events = [row for row in rows if row["prune/seconds"]]
    assert [int(row["step"]) for row in events] == [4, 8]
    assert [float(row["prune/keep_target"]) for row in events] == [0.6, 0.3]
    for place in (0, 2, 4, 5):
        assert 0 < float(events[-1][f"prune/net.{place}"]) < 1


def test_files_are_written_where_the_logger_writes(tmp_path):
    callback = pruning()
    run = fit(Scored(), callback, logger=CSVLogger(tmp_path))
    with open(f"{run.logger.log_dir}/report.json") as file:
        report = json.load(file)
    assert [event["nonzero"] for event in report["events"]] == [
        event["nonzero"] for event in callback.events
    ]
    assert report["events"][-1]["metrics"]["val_loss"] == pytest.approx(
        float(run.callback_metrics["val_loss"])
    )
    with open(f"{run.logger.log_dir}/events.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_nothing_is_written_without_a_logger_and_all_of_it_to_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(Classifier(), pruning())
    assert list(tmp_path.iterdir()) == []
    fit(Classifier(), pruning(folder=tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "events.csv", "layers.csv", "report.json"
    }  # fmt: skip


@pytest.mark.parametrize("kind", [EarlyStopping, ModelCheckpoint])
def test_callbacks_that_choose_by_a_score_are_warned_of(kind, tmp_path):
    callback = kind(monitor="val_loss")
    options = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    with pytest.warns(UserWarning, match=r"before the last pruning event at epoch 2"):
        fit(Scored(), pruning(), callback, **options)


def test_a_run_that_stops_before_the_last_event_says_so(capsys):
    stop = Probe("on_train_epoch_end", lambda t, _: setattr(t, "should_stop", True))
    module, callback = Classifier(), Pruning("magnitude", EVENTS)
    fit(module, callback, stop)
    assert nonzero(module.parameters()) == SIZE
    said = capsys.readouterr().out
    assert "the events at epochs 1, 2 did not happen" in said
    assert "keep 1.00" in said


def test_the_console_says_what_happened_and_nothing_when_asked(capsys):
    run = trainer(Pruning("magnitude", EVENTS))
    run.fit(Classifier(), loader())
    said = capsys.readouterr().out
    assert "epoch 1: keep 0.60 (sparsity 0.40)" in said
    assert "epoch 2, step 8: keep 0.30 (sparsity 0.70)" in said
    assert "did not happen" not in said
    fit(Classifier(), pruning())
    assert capsys.readouterr().out == ""
