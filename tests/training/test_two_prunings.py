"""Two callbacks in one Trainer: their layers are disjoint, and so are their logs."""

import csv
import json

import pytest
import torch
from classifiers import SIZE, Classifier, Probe, fit, loader, nonzero, trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from lightning_prune import LayerFilter, OneShot, Pruning

FIRST, SECOND = LayerFilter(include="net.0"), LayerFilter(include="net.2")


def pruning(at, keep, layers):
    return Pruning("magnitude", OneShot(at, keep=keep), layers=layers, verbose=False)


def pair():
    """Each counts the other's layer as dense: 60 and 50 weights go."""
    keeps = [(SIZE - gone) / SIZE for gone in (60, 50)]
    return pruning(1, keeps[0], FIRST), pruning(2, keeps[1], SECOND)


def test_each_prunes_its_own_layers_to_its_own_target():
    module = Classifier()
    counts = Probe(
        "on_train_batch_end", lambda _, m: [int(m.net[i].weight.count_nonzero()) for i in (0, 2)]
    )
    fit(module, *pair(), counts)
    assert counts.seen == [[96, 96]] * 4 + [[36, 96]] * 4 + [[36, 46]] * 4


def test_each_logs_its_own_share(tmp_path):
    one, other = pair()
    run = fit(Classifier(), one, other, logger=CSVLogger(tmp_path))
    metrics = run.callback_metrics
    assert metrics["prune/keep"] == pytest.approx((SIZE - 60) / SIZE)
    assert metrics["prune/keep_2"] == pytest.approx((SIZE - 50) / SIZE)
    with open(f"{run.logger.log_dir}/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    written = sorted({float(row["prune/keep_2"]) for row in rows if row["prune/keep_2"]})
    assert written[-1] == 1.0
    assert written[0] == pytest.approx((SIZE - 50) / SIZE)


def test_each_writes_its_own_files(tmp_path):
    run = fit(Classifier(), *pair(), logger=CSVLogger(tmp_path))
    reports = [
        json.loads(file.read_text())
        for file in sorted(tmp_path.rglob("report.json"), key=lambda file: len(file.parts))
    ]
    assert [len(report["events"]) for report in reports] == [1, 1]
    assert [report["layers"][0]["name"] for report in reports] == ["net.0", "net.2"]
    assert run.logger.log_dir


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
def test_both_resume(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    whole, module = Classifier(), Classifier()
    fit(whole, *pair(), saver, enable_checkpointing=True)
    run = trainer(*pair())
    run.fit(module, loader(), ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True)
    for ours, theirs in zip(module.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert nonzero(module.parameters()) == SIZE - 110


def test_overlapping_layers_are_refused_before_anything_is_trained():
    module = Classifier()
    before = [p.detach().clone() for p in module.parameters()]
    other = pruning(2, 0.5, LayerFilter(include="net.*"))
    with pytest.raises(ValueError, match=r"both prune net\.0.*disjoint"):
        fit(module, pruning(1, 0.5, FIRST), other)
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


def test_two_of_the_same_layers_are_refused_by_the_trainer():
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `Pruning`"):
        fit(Classifier(), pruning(1, 0.5, None), pruning(2, 0.4, None))
