"""The bounds of a run: in its tables, its report and its plot."""

import csv

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import OneShot, Pruning, Samples
from lightning_prune.folder import RunFolder
from lightning_prune.plots import plot_bounds


class Lit(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def run(tmp_path):
    def fit(method):
        data = DataLoader(TensorDataset(torch.rand(60, 6), torch.arange(60) % 3), 20)
        pruning = Pruning(
            method, OneShot(1, keep=0.5), batches=Samples(25), folder=tmp_path, verbose=False
        )
        pl.Trainer(
            max_epochs=2, accelerator="cpu", callbacks=[pruning], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(Lit(), data)  # fmt: skip
        return tmp_path

    return fit


def test_tables_and_report_hold_bound_and_error_side_by_side(run):
    folder = run("sipp")
    with open(folder / "layers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    report = RunFolder(folder).read_report()
    assert report["bounds"]["held_out"] == 25
    assert [row["name"] for row in rows] == ["net.0", "net.2"]
    for row, layer in zip(rows, report["bounds"]["layers"], strict=True):
        assert float(row["bound"]) == layer["bound"] == pytest.approx(3 * layer["bound_seen"])
        assert float(row["error"]) == layer["error"] > 0
    assert report["bounds"]["bound"] == max(float(row["bound"]) for row in rows)
    assert set(report["bounds"]["vacuous"]) == {r["name"] for r in rows if float(r["bound"]) >= 1}
    with open(folder / "events.csv", newline="") as file:
        (event,) = csv.DictReader(file)
    assert float(event["error"]) == report["bounds"]["error"]


@pytest.mark.parametrize("method", ["sipp", "sipp_rand", "pfp_partial"])
def test_the_plot_shows_a_mark_of_each_kind_for_every_layer(run, method):
    folder = run(method)
    figure = plot_bounds(folder, folder / "bounds.png")
    (axes,) = figure.axes
    report = RunFolder(folder).read_report()
    marks = {line.get_label(): len(line.get_xdata()) for line in axes.get_lines()}
    assert marks["bound for others"] == len(report["bounds"]["layers"])
    assert sum("25 held-out samples" in label for label in marks) >= 1
    assert (folder / "bounds.png").stat().st_size > 10_000


def test_a_method_without_a_theory_is_told_so(run):
    with pytest.raises(ValueError, match="has no bounds"):
        plot_bounds(run("magnitude"))
