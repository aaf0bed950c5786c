"""Plots of flows: what is drawn is what the flow says, of every flow on the same scale."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.plots import (
    Plane,
    plot_density,
    plot_field,
    plot_flatness,
    plot_flow_curves,
    plot_images,
    plot_regions,
    plot_samples,
    plot_trajectories,
)


class Linear(nn.Module):
    """The field f(x) = A x: noise is z = e^A x, and log p(x) = log N(e^A x) + tr A."""

    def __init__(self, matrix: list[list[float]]):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor(matrix))
        self.calls: list[int] = []

    def log_prob(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        z = x @ self.matrix.matrix_exp().T
        return (-(z**2).sum(1) - x.shape[1] * math.log(2 * math.pi)) / 2 + self.matrix.trace()

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        z = torch.randn(count, len(self.matrix), generator=generator)
        return self.trajectories(z, torch.tensor([1.0, 0.0]))[-1]

    def velocity(self, t: float, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return x @ self.matrix.T

    def trajectories(self, z: Tensor, times: Tensor) -> Tensor:
        return torch.stack([z @ ((t - 1) * self.matrix).matrix_exp().T for t in times])


class Ring:
    """Four round Gaussians."""

    means = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    stds = torch.full((4,), 0.3)

    def posterior(self, x: Tensor) -> Tensor:
        return (-(x[:, None] - self.means).square().sum(-1) / 0.18).softmax(1)


@pytest.fixture
def flows() -> dict[str, Linear]:
    return {
        "dense": Linear([[0.3, -1.1], [0.7, -0.2]]),
        "keep 0.30": Linear([[0.9, 0.0], [0.5, 0.2]]),
        "control": Linear([[0.0, 0.0], [0.0, 0.0]]),
    }


SHOW = (plot_density, plot_field, plot_samples, plot_trajectories)


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize("show", SHOW)
def test_a_panel_a_flow_and_no_trace_of_the_drawing(flows, show, tmp_path):
    for flow in flows.values():
        flow.train()
    stream = torch.get_rng_state()
    figure = show(flows, tmp_path / "new" / "flows.png")
    assert titles(figure) == [*flows]
    assert (tmp_path / "new" / "flows.png").stat().st_size > 10_000
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(flow.training and flow.matrix.grad is None for flow in flows.values())


@pytest.mark.parametrize("show", SHOW)
def test_a_flow_of_three_dimensions_is_refused(show):
    with pytest.raises(ValueError, match="'deep' has 3"):
        show({"deep": Linear(torch.zeros(3, 3).tolist())})
    with pytest.raises(ValueError, match="no flow"):
        show({})


def test_densities_are_the_flow_s_and_share_a_scale(flows):
    plane = Plane(steps=41)
    figure = plot_density(flows, points=torch.randn(50, 2), plane=plane, batch=500)
    assert titles(figure) == ["data", *flows]
    images = [axes.get_images()[0] for axes in figure.axes[1:4]]
    assert len({image.get_clim() for image in images}) == 1
    # the control's field rests: a standard normal
    known = math.exp(-0.5) / (2 * math.pi)
    assert images[2].get_array()[20, 30] == pytest.approx(known, rel=1e-4)  # at (1, 0)
    # of the first flow, where x is not y
    point = torch.tensor([[plane.sides[0][5], plane.sides[1][30]]])
    value = float(flows["dense"].log_prob(point).detach().exp())
    assert images[0].get_array()[30, 5] == pytest.approx(value, rel=1e-4)
    assert max(flows["dense"].calls) == 500


def test_a_field_is_one_call(flows):
    plot_field(flows, plane=Plane(steps=30))
    assert flows["dense"].calls == [900]


def test_density_and_field_of_what_is_broken_or_rests(flows):
    broken = Linear([[float("nan"), 0.0], [0.0, 0.0]])
    rests = {"rests": flows["control"]}
    plot_density({"broken": broken, **rests})
    plot_field({"broken": broken, **rests})
    plot_field(rests)
    plot_trajectories({"broken": broken, **rests})
    plot_samples({"broken": broken, **rests}, mixture=Ring())
    with pytest.raises(ValueError, match="finite velocity"):
        plot_field({"broken": broken})


def test_ways_lead_from_noise_to_samples(flows):
    axes = plot_trajectories(flows, count=20, steps=5).axes[0]
    noise, data = (torch.tensor(line.get_xydata()) for line in axes.get_lines())
    moved = noise @ (-flows["dense"].matrix.detach()).matrix_exp().double().T
    assert torch.allclose(moved, data, atol=1e-5)
    ways = axes.collections[0].get_segments()
    assert (len(ways), len(ways[0])) == (20, 5)


def test_samples_have_the_colour_of_their_mode(flows):
    figure = plot_samples(flows, mixture=Ring(), points=Ring.means.repeat(2, 1), count=100)
    colours = figure.axes[0].collections[0].get_array()
    assert colours.tolist() == [0, 1, 2, 3] * 2
    assert len(figure.axes[1].collections[0].get_offsets()) == 100
    with pytest.raises(ValueError, match=r"\(n, 2\), not \(5, 3\)"):
        plot_samples(flows, points=torch.ones(5, 3))


def report(**extra) -> dict:
    return {
        "method": "magnitude", "measure": "params",
        "events": [
            {"keep": keep, "metrics": {"test/nll": nll, "test/evaluations": count}}
            for keep, nll, count in ((0.7, 1.15, 50), (0.3, 1.17, 44), (0.1, 1.6, 38))
        ],
        "dense": {"metrics": {"test/nll": 1.18, "test/evaluations": 56}},
        "control": {"metrics": {"test/nll": 1.155, "test/evaluations": 60}},
        "extra": {"main_metric": "test/nll", **extra},
    }  # fmt: skip


def test_curves_show_likelihood_and_what_it_costs(tmp_path):
    figure = plot_flow_curves(report(floor=1.1317), tmp_path / "curves.png")
    likelihood, cost = figure.axes
    lines = {line.get_label(): line for line in likelihood.get_lines()}
    assert list(lines["magnitude"].get_ydata()) == [1.6, 1.17, 1.15]
    assert set(lines["entropy of the data"].get_ydata()) == {1.1317}
    assert set(lines["dense control, equal training"].get_ydata()) == {1.155}
    assert list(cost.get_lines()[0].get_ydata()) == [38, 44, 50]
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_control_at_every_event_is_a_curve():
    known = report()
    for event, nll in zip(known["events"], (1.17, 1.16, 1.155), strict=True):
        event["control"] = {"test/nll": nll}
    likelihood, cost = plot_flow_curves(known).axes
    assert list(likelihood.get_lines()[2].get_ydata()) == [1.155, 1.16, 1.17]
    assert set(cost.get_lines()[2].get_ydata()) == {60}


def test_curves_of_a_report_that_knows_less():
    known = report()
    for event in known["events"]:
        del event["metrics"]["test/evaluations"]
    (axes,) = plot_flow_curves({**known, "control": None, "dense": None}).axes
    assert [line.get_label() for line in axes.get_lines()] == ["magnitude"]
    del known["extra"]
    plot_flow_curves(known)
    with pytest.raises(ValueError, match="there are test/nll"):
        plot_flow_curves(known, metric="test/bits")


def flat(scale: float) -> dict:
    return {
        "largest": 2 * scale, "trace": 9 * scale, "condition": 1e5 * scale**2,
        "condition_median": 40 * scale, "negative": 0.2,
    }  # fmt: skip


def test_flatness_is_relative_to_the_dense_network(tmp_path):
    values = {1.0: flat(1), 0.5: flat(0.6), 0.2: {**flat(0.3), "trace": -1.0, "condition": None}}
    figure = plot_flatness(values, tmp_path / "flat.png", control=flat(0.9))
    assert len(titles(figure)) == 4
    largest, trace = (axes.get_lines() for axes in figure.axes[:2])
    assert list(largest[0].get_ydata()) == pytest.approx([0.3, 0.6])
    assert list(trace[0].get_xdata()) == [0.5]  # below 0 there is no logarithm
    assert largest[2].get_ydata()[0] == pytest.approx(0.9)
    assert all(axes.get_yscale() == "log" for axes in figure.axes)
    less = {keep: {"largest": n["largest"]} for keep, n in values.items() if keep < 1}
    assert len(plot_flatness(less, dense=flat(1)).axes) == 1
    with pytest.raises(ValueError, match="dense network"):
        plot_flatness(less)
    with pytest.raises(ValueError, match="one of the numbers"):
        plot_flatness({1.0: flat(1)})


def test_regions_are_the_classes_that_networks_give(tmp_path):
    points = torch.rand(60, 2) * 2 - 1
    labels = (points[:, 0] > 0).long()
    sure = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        sure.weight.copy_(torch.tensor([[-50.0, 0.0], [50.0, 0.0]]))
    nets = {"dense": sure, "unsure": lambda x: torch.zeros(len(x), 2)}
    figure = plot_regions(nets, points, labels, tmp_path / "regions.png")
    assert titles(figure) == ["dense", "unsure"]
    dense, unsure = (torch.as_tensor(axes.get_images()[0].get_array()) for axes in figure.axes)
    assert dense.shape == (200, 200, 3)
    assert dense[0, 0, 2] > dense[0, 0, 0]  # blue on the left
    assert dense[0, -1, 0] > dense[0, -1, 2]  # orange on the right
    assert (unsure == 1).all()
    with pytest.raises(ValueError, match=r"labels \(n,\)"):
        plot_regions(nets, points, labels[1:])
    with pytest.raises(ValueError, match="no network"):
        plot_regions({}, points, labels)
    with pytest.raises(ValueError, match=r"\(n, 2\) points"):
        plot_regions(nets, torch.ones(4, 3), labels[:4])


class Pictures(nn.Module):
    """Noise as images."""

    def sample(self, count, generator=None):
        return torch.rand(count, 1, 4, 4, generator=generator)


def test_samples_of_images_have_a_row_for_each_flow(tmp_path):
    path = tmp_path / "images.png"
    flows = {"dense": Pictures(), "keep 0.1": Pictures()}
    figure = plot_images(flows, path, torch.rand(9, 1, 4, 4), 5)
    assert path.stat().st_size > 1000
    assert len(figure.axes) == 15
    assert [axes.get_ylabel() for axes in figure.axes[::5]] == ["data", "dense", "keep 0.1"]


def test_points_are_no_images():
    with pytest.raises(ValueError, match="plot_samples shows points"):
        plot_images({"flow": Linear([[0.1, 0.0], [0.0, 0.1]])})
    with pytest.raises(ValueError, match="no flow"):
        plot_images({})
