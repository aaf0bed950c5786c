"""Density estimation under a Trainer, with its default inference mode; ODEs as classifiers, too."""

from __future__ import annotations

import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune.models import CNF, MLPField, ODEClassifier, TabularFlow
from lightning_prune.solve import TIGHT, Solver
from lightning_prune.tasks import Classification, Density

ADAM = partial(torch.optim.Adam, lr=1e-2)
QUICK = Solver("rk4", 2)


def trainer(**options):
    return pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def points(dims=2, count=40):
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(1))


def batches(x, labels=True):
    """Of 16, 16 and 8 points, with labels or alone."""
    made = TensorDataset(x, torch.arange(len(x)) % 2) if labels else x
    return DataLoader(made, 16)


def flow(**options):
    return CNF(MLPField(2, (6,)), **{"solver": QUICK, **options})


KINDS = {
    "exact": flow,
    "rademacher": lambda: flow(trace="rademacher"),
    "adjoint": lambda: flow(solver=Solver("dopri5", atol=1e-4, rtol=1e-4, gradient="adjoint")),
    "tabular": lambda: TabularFlow(2, 2, 1, 2, solver=QUICK),
}


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_loop_of_a_trainer_runs_and_logs(kind, labels):
    task, run = Density(KINDS[kind](), ADAM), trainer()
    x, data = points(), batches(points(), labels)
    before = [p.detach().clone() for p in task.parameters()]
    run.fit(task, data, data)
    assert all(not torch.equal(a, b) for a, b in zip(before, task.parameters(), strict=True))
    assert set(run.callback_metrics) == {
        "train/loss", "train/evaluations", "val/loss", "val/nll", "val/evaluations",
    }  # fmt: skip
    validated = run.validate(task, data, verbose=False)[0]
    tested = run.test(task, data, verbose=False)[0]
    assert set(tested) == {"test/loss", "test/nll", "test/evaluations"}
    with torch.no_grad():
        expected = task.net.log_prob(x, TIGHT, "exact")
    for logged in (validated["val/nll"], tested["test/nll"], tested["test/loss"]):
        assert logged == pytest.approx(-float(expected.mean()), rel=1e-4)
    predicted = torch.cat(run.predict(task, data))
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["exact", "adjoint"])
def test_evaluations_are_those_of_a_solve(kind):
    task, run = Density(KINDS[kind](), ADAM), trainer()
    run.fit(task, batches(points()), batches(points()))
    logged = float(run.callback_metrics["train/evaluations"])
    assert (logged == QUICK.evaluations) == (kind == "exact")
    assert logged >= QUICK.evaluations
    assert float(run.callback_metrics["val/evaluations"]) > QUICK.evaluations


def test_validation_may_be_that_of_training():
    task, run = Density(flow(), ADAM, validate="training"), trainer()
    data = batches(points())
    validated = run.validate(task, data, verbose=False)[0]
    assert set(validated) == {"val/loss", "val/evaluations"}
    assert validated["val/evaluations"] == QUICK.evaluations
    assert validated["val/loss"] == pytest.approx(-float(task(points()).mean().detach()), rel=1e-5)
    assert "test/nll" in run.test(task, data, verbose=False)[0]


@pytest.mark.parametrize("levels", [2, 256])
def test_bits_per_dimension(levels):
    tested = trainer().test(Density(flow(), ADAM, levels=levels), batches(points()), verbose=False)
    nats = tested[0]["test/nll"] / 2 + math.log(levels)
    assert tested[0]["test/bits_per_dim"] == pytest.approx(nats / math.log(2), rel=1e-5)


def test_reports_may_use_probes_and_take_some_points_at_a_time():
    exact = Density(flow(), ADAM)
    x = points()
    expected = exact.reported(x)
    sizes = []
    task = Density(exact.net, ADAM, probes=64, rows=15)
    task.net.fields[0].register_forward_hook(lambda *_: None)
    plain = task.net.log_prob
    task.net.log_prob = lambda x, *args: sizes.append((len(x), *args)) or plain(x, *args)
    found = task.reported(x)
    assert sizes == [(n, TIGHT, "rademacher", 64) for n in (15, 15, 10)]
    assert not torch.equal(found, expected)
    assert float((found - expected).abs().mean()) < 0.2
    assert task.about() == {
        "solver": "dopri5", "atol": 1e-5, "rtol": 1e-5, "trace": "64 Rademacher probes",
    }  # fmt: skip
    assert exact.about()["trace"] == "exact"


def test_a_batch_counts_by_its_size():
    task, run = Density(flow(), ADAM), trainer()
    x = torch.cat([points(count=32), 5 + points(count=8)])
    tested = run.test(task, batches(x), verbose=False)[0]
    assert tested["test/nll"] == pytest.approx(-float(task.reported(x).mean()), rel=1e-4)


def test_a_blow_up_ends_the_training():
    task = Density(flow(), ADAM)
    torch.nn.init.constant_(task.net.fields[0].layers[0].weight, float("nan"))
    with pytest.raises(ValueError, match="met a state that is not finite"):
        trainer(limit_val_batches=0).fit(task, batches(points()), batches(points()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"report": Solver("euler")}, "tolerances of 0.001 or less, not from euler"),
        ({"report": Solver("tsit5", rtol=0.01)}, "tolerances of 0.001 or less, not from tsit5"),
        ({"validate": "never"}, "not 'never'"),
        ({"probes": 0}, "probes and rows from 1 on and levels from 2 on"),
        ({"rows": 0}, "probes and rows from 1 on and levels from 2 on"),
        ({"levels": 1}, "probes and rows from 1 on and levels from 2 on"),
        ({"interval": "batch"}, '"epoch" or "step"'),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Density(flow(), ADAM, **options)


def test_it_declares_its_main_metric():
    assert (Density.main_metric, Density.direction) == ("nll", "min")


@pytest.mark.parametrize("gradient", ["autograd", "adjoint"])
@pytest.mark.parametrize("augment", [0, 1])
def test_a_classifier_of_continuous_depth_goes_through_every_loop(augment, gradient):
    net = ODEClassifier(hidden=(5,), augment=augment, solver=Solver("rk4", 2, gradient=gradient))
    task, run, data = Classification(net, ADAM, classes=2), trainer(), batches(points())
    run.fit(task, data, data)
    names = ("loss", "accuracy", "evaluations")
    assert set(run.callback_metrics) == {f"{p}/{n}" for p in ("train", "val") for n in names}
    tested = run.test(task, data, verbose=False)[0]
    assert set(tested) == {f"test/{name}" for name in (*names, "accuracy_tight")}
    assert tested["test/evaluations"] == 8, "the tight solve is not counted"
    predicted = torch.cat(run.predict(task, data))
    torch.testing.assert_close(predicted, net(points()).detach())
