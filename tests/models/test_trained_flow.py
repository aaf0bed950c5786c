"""Flows that have learned something: their densities are densities, and reports are honest."""

from __future__ import annotations

import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from lightning_prune.data import Planar
from lightning_prune.evaluation import TightFlow
from lightning_prune.models import CNF, MLPField
from lightning_prune.solve import Solver
from lightning_prune.tasks import Density

ADAM = partial(torch.optim.Adam, lr=1e-2)


@pytest.fixture(scope="module")
def gaussians():
    data = Planar("gaussians", samples=3000, batch_size=256)
    data.setup()
    return data


def rows(data, part):
    return data.sets[part].__getitems__(range(len(data.sets[part])))[0]


def trained(points, solver, steps, lr):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = CNF(MLPField(2, (32, 32)), solver=solver)
        optimizer = torch.optim.Adam(flow.parameters(), lr)
        for _ in range(steps):
            loss = -flow(points[torch.randint(len(points), (256,))]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return flow.requires_grad_(False)


@pytest.fixture(scope="module")
def honest(gaussians):
    """A flow of four steps of rk4, after a hundred of Adam."""
    return trained(rows(gaussians, "train"), Solver("rk4", 4), 100, 2e-2)


@pytest.fixture(scope="module")
def cheat(gaussians):
    """The same, of three steps of Euler."""
    return trained(rows(gaussians, "train"), Solver("euler", 3), 100, 3e-2)


@pytest.fixture(scope="module")
def integral(honest):
    """Log density on a grid over [-6, 6]^2, and the area of a cell."""
    axis = torch.linspace(-6, 6, 97)
    return TightFlow(honest).log_prob(torch.cartesian_prod(axis, axis)), 0.125**2


@pytest.mark.slow
def test_a_trained_density_is_one_in_all(integral):
    """The density that was learned integrates to one."""
    log_prob, cell = integral
    assert float(log_prob.exp().sum()) * cell == pytest.approx(1, abs=2e-3)


def test_it_learned_and_its_likelihood_stays_above_the_entropy(gaussians, honest):
    """It comes near the entropy of the data, and not below it."""
    points = rows(gaussians, "test")
    log_prob = TightFlow(honest).log_prob(points)
    error = float(log_prob.std()) / math.sqrt(len(points))
    assert gaussians.floor - 3 * error < -float(log_prob.mean()) < 1.6  # 2.84 before training
    assert gaussians.floor == pytest.approx(1.13, abs=0.01)  # by quadrature
    fixed = -float(honest(points).mean())
    assert fixed == pytest.approx(-float(log_prob.mean()), abs=0.02)


def test_samples_score_the_entropy_of_the_model(honest, integral):
    """The mean score of samples is the integral of -p log p, within their spread."""
    log_prob, cell = integral
    entropy = -float((log_prob.exp() * log_prob).sum()) * cell
    flow = TightFlow(honest)
    scores = -flow.log_prob(flow.sample(2000, torch.Generator().manual_seed(5)))
    assert abs(float(scores.mean()) - entropy) < 4 * float(scores.std()) / math.sqrt(2000)


def test_most_points_come_back(gaussians, honest):
    x = rows(gaussians, "test")[:500]
    z, logdet = honest.transform(x, TightFlow(honest).solver)
    back, other = honest.invert(z, TightFlow(honest).solver)
    assert float((back - x).abs().median()) < 1e-3
    assert float((logdet + other).abs().median()) < 1e-2


def test_training_can_cheat_a_coarse_solver(gaussians, cheat):
    """Its own likelihood is far better than that of the flow that it stands for."""
    points = rows(gaussians, "train")[:300]
    own, tight = -float(cheat(points).mean()), -float(TightFlow(cheat).log_prob(points).mean())
    assert own < tight - 0.5  # 1.4 and 23 at the time of writing
    assert tight > gaussians.floor


def test_reports_do_not_believe_it(gaussians, cheat):
    """What `trainer.test` logs is the likelihood of the tight solver."""
    task = Density(cheat, ADAM)
    run = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        limit_test_batches=2,
    )
    logged = run.test(task, gaussians, verbose=False)[0]
    log_prob = TightFlow(cheat).log_prob(rows(gaussians, "test")[: 2 * 256])
    assert logged["test/nll"] == pytest.approx(-float(log_prob.mean()), rel=1e-3)
    error = float(log_prob.std()) / math.sqrt(len(log_prob))
    assert logged["test/nll"] >= gaussians.floor - 3 * error
    assert logged["test/evaluations"] > cheat.solver.evaluations


@pytest.mark.parametrize("report", [Solver("euler"), Solver("rk4"), Solver("dopri5", atol=1e-2)])
def test_reports_by_a_coarse_solver_are_refused(honest, report):
    with pytest.raises(ValueError, match=f"not from {report.method}: what was trained can cheat"):
        Density(honest, ADAM, report=report)
