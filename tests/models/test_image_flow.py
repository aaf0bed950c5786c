"""Image flows against their definitions: sizes, ways there and back, log determinants."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch

from lightning_prune import prune
from lightning_prune.models.concat_conv import ConvField
from lightning_prune.models.image_flow import ImageFlow
from lightning_prune.models.logit import Logit
from lightning_prune.models.pyramid import Pyramid
from lightning_prune.network.graph import build_graph
from lightning_prune.solve import TIGHT, Solver
from lightning_prune.tasks.bits import bits_per_dim

pytestmark = pytest.mark.slow


def small(shape: tuple[int, int, int] = (1, 8, 8), **options) -> ImageFlow:
    torch.manual_seed(0)
    return ImageFlow(shape, **{"hidden": (5, 6), "blocks": 1, **options})


def images(count: int = 3, shape: tuple[int, int, int] = (1, 8, 8), **options) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1), **options)


@pytest.mark.parametrize(
    ("shape", "fields", "parameters"), [((1, 28, 28), 10, 800_646), ((3, 32, 32), 14, 1_358_882)]
)
def test_sizes_are_those_of_sparse_flows(shape, fields, parameters):
    """End times count, one a field, whether they are trained or not."""
    for trained in (True, False):
        with torch.device("meta"):
            flow = ImageFlow(shape, trainable_end_time=trained)
        assert len(flow.fields) == fields
        assert sum(parameter.numel() for parameter in flow.parameters()) == parameters
        assert sum(p.numel() for p in flow.parameters() if p.requires_grad) == (
            parameters if trained else parameters - fields
        )
    assert flow.dims == math.prod(shape)


@pytest.mark.parametrize(("shape", "scales"), [((1, 28, 28), 3), ((3, 32, 32), 4), ((1, 8, 8), 2)])
def test_scales_end_where_images_are_small(shape, scales):
    assert len(Pyramid(shape).shapes) == 2 * scales - 1
    assert Pyramid(shape).shapes == Pyramid(shape, scales).shapes


def test_a_squeeze_makes_channels_of_neighbours():
    pyramid = Pyramid((2, 4, 6), 2)
    x = torch.arange(48.0).view(1, 2, 4, 6)
    squeezed, gone = pyramid.enter(1, x)
    assert not gone
    assert tuple(squeezed.shape[1:]) == pyramid.shapes[1] == (8, 2, 3)
    assert squeezed[0, 4:, 1, 2].tolist() == x[0, 1, 2:, 4:].flatten().tolist()
    assert torch.equal(squeezed.flatten().sort().values, x.flatten())
    assert torch.equal(pyramid.leave(1, squeezed, []), x)


def test_the_pyramid_goes_back_the_way_it_came():
    pyramid, x, noise = Pyramid((1, 16, 8), 3), images(2, (1, 16, 8)), []
    y = x
    for stage in range(5):
        y, gone = pyramid.enter(stage, y)
        noise += gone
        assert tuple(y.shape[1:]) == pyramid.shapes[stage]
    z = torch.cat([part.flatten(1) for part in (*noise, y)], 1)
    *noise, y = pyramid.split(z)
    for stage in reversed(range(5)):
        y = pyramid.leave(stage, y, noise)
    assert not noise
    assert torch.equal(y, x)


def test_the_logit_and_its_inverse():
    logit, x = Logit(1e-6), images(4, (1, 3, 3))
    y, logdet = logit(x)
    back, other = logit.invert(y)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(other, -logdet)
    slopes = torch.autograd.functional.jacobian(lambda v: logit(v)[0].sum(), x.double())
    torch.testing.assert_close(logit(x.double())[1], slopes.log().flatten(1).sum(1))


def test_the_logit_is_symmetric_at_black_and_white():
    y, logdet = Logit(1e-6)(torch.tensor([[0.0], [1.0]]))
    assert float(y[0]) == -float(y[1]) == pytest.approx(math.log(1e-6), rel=1e-6)
    # log (1 - 2 alpha) - log (s - s^2), of which the second is that of about alpha
    assert logdet.tolist() == pytest.approx([math.log(1e6)] * 2, rel=1e-6)


@pytest.mark.parametrize("bad", [2.0, -0.1, math.nan])
def test_pixels_outside_of_the_unit_interval_are_refused(bad):
    with pytest.raises(ValueError, match="pixels in"):
        small()(torch.full((1, 1, 8, 8), bad))


# torch among itself, at the first use of jvp
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "relu"])
def test_tangents_of_a_convolutional_field_are_those_of_autograd(activation):
    field = ConvField(2, (4, 3), activation).double()
    t, x = torch.tensor(0.3).double(), torch.randn(3, 2, 4, 5).double()
    for batch in (3, 1):
        tangents = torch.randn(2, batch, 2, 4, 5).double()
        velocity, pushed = field.push(t, x, tangents)
        torch.testing.assert_close(velocity, field(t, x))
        for own, tangent in zip(pushed, tangents, strict=True):
            expected = torch.func.jvp(lambda y: field(t, y), (x,), (tangent.expand_as(x),))[1]
            torch.testing.assert_close(own, expected)


def test_a_convolutional_field_sees_time():
    field, x = ConvField(1, (4,)), images()
    assert not torch.equal(field(torch.tensor(0.0), x), field(torch.tensor(1.0), x))


@pytest.mark.parametrize("options", [{"channels": 0}, {"channels": 1, "hidden": (0,)}])
def test_a_field_without_channels_is_refused(options):
    with pytest.raises(ValueError, match="at least 1"):
        ConvField(**options)


@pytest.mark.parametrize(("shape", "scales"), [((1, 4, 4), 1), ((1, 4, 4), 2)])
def test_log_determinant_is_that_of_the_jacobian(shape, scales):
    flow = small(shape, scales=scales, trace="exact").double()
    x = images(2, shape, dtype=torch.float64)
    solver = Solver("dopri5", atol=1e-9, rtol=1e-9)
    logdet = flow.transform(x, solver)[1].detach()
    for own, image in zip(logdet, x, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda y: flow.transform(y[None], solver)[0][0], image
        )
        expected = torch.linalg.slogdet(jacobian.reshape(flow.dims, flow.dims))[1]
        assert float(own) == pytest.approx(float(expected), rel=1e-7)


@torch.no_grad()
def test_log_density_is_that_of_the_noise_plus_the_log_determinant():
    flow, x = small(trace="exact"), images()
    z, logdet = flow.transform(x)
    noise = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    torch.testing.assert_close(flow(x), noise + logdet)
    torch.testing.assert_close(flow.log_prob(x), flow(x))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 4)])
def test_there_and_back(shape):
    """In single precision, with the solver of reports."""
    flow, x = small(shape, scales=2, trace="exact"), images(4, shape)
    z, logdet = flow.transform(x, TIGHT)
    assert z.shape == (4, flow.dims)
    back, other = flow.invert(z, TIGHT)
    assert back.shape == x.shape
    assert float((back - x).abs().median()) < 1e-5
    assert float((logdet + other).abs().median()) < 1e-3 * float(logdet.abs().median())


@torch.no_grad()
@pytest.mark.parametrize("trace", ["rademacher", "gaussian"])
def test_probes_agree_with_the_exact_trace_on_average(trace):
    flow, x = small((1, 4, 4)), images(1, (1, 4, 4))
    for parameter in flow.fields.parameters():
        parameter.mul_(2)  # or else nearly all variance is that of the gaussians' own length
    exact = flow.log_prob(x, trace="exact")
    torch.manual_seed(0)
    drawn = flow.log_prob(x.expand(4000, -1, -1, -1), trace=trace)
    assert float(drawn.std()) > 1e-4
    error = float(drawn.std()) / math.sqrt(len(drawn))
    assert abs(float(drawn.mean() - exact)) < 4 * error + 1e-4
    many = flow.log_prob(x.expand(200, -1, -1, -1), trace=trace, probes=16)
    assert float(many.std()) < 0.5 * float(drawn.std())


@torch.no_grad()
def test_a_probe_belongs_to_a_solve():
    """However many evaluations, one probe a field; the random stream is otherwise left alone."""
    flow, x = small(), images()
    torch.manual_seed(0)
    flow.log_prob(x, Solver("rk4", steps=2))
    short = torch.get_rng_state()
    torch.manual_seed(0)
    flow.log_prob(x, Solver("rk4", steps=9))
    assert torch.equal(short, torch.get_rng_state())


def test_samples_are_images_and_repeat():
    flow = small((3, 8, 8))
    first = flow.sample(5, torch.Generator().manual_seed(3))
    assert first.shape == (5, 3, 8, 8)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert torch.equal(first, flow.sample(5, torch.Generator().manual_seed(3)))
    z = torch.randn(5, flow.dims, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(first, flow.invert(z)[0].detach(), atol=1e-5, rtol=1e-4)


def test_bits_of_the_uniform_density():
    assert float(bits_per_dim(torch.zeros(()), 784)) == 8
    assert float(bits_per_dim(torch.zeros(()), 64, 16)) == 4
    log_prob = torch.tensor([3.0, -7.0])
    expected = -(log_prob / 12 - math.log(17)) / math.log(2)
    torch.testing.assert_close(bits_per_dim(log_prob, 12, 17), expected)


@pytest.mark.parametrize("gradient", ["autograd", "adjoint"])
def test_every_parameter_learns(gradient):
    flow = small(solver=Solver("dopri5", gradient=gradient))
    flow(images()).mean().neg().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in flow.parameters())
    assert all(float(root.grad.abs()) > 0 for root in flow.roots)


def test_some_steps_of_training_raise_the_density():
    flow, x = small(solver=Solver("rk4", steps=2)), images(32) * 0.2
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = -flow(x).mean() / flow.dims
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1


def test_copies_pickles_and_inference():
    flow, x = small(trace="exact"), images()
    expected = flow(x).detach()
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        with torch.inference_mode():
            torch.testing.assert_close(twin(x), expected)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert not torch.allclose(twin(x), expected)  # its solves are those of its own fields
    torch.testing.assert_close(flow(x), expected)


def test_the_tally_counts_every_field():
    flow = small(solver=Solver("rk4", steps=3))
    flow(images())
    assert (flow.tally.solves, flow.tally.forward) == (3, 36)


@pytest.mark.parametrize("bad", [(2, 64), (2, 3, 8, 8), (2, 1, 8, 9), (1, 8, 8)])
def test_other_images_are_refused(bad):
    with pytest.raises(ValueError, match=r"\(batch, 1, 8, 8\) images and got"):
        small()(torch.rand(bad))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8)}, "channels, height and width"),
        ({"shape": (1, 8, 8), "blocks": 0}, "one block"),
        ({"shape": (1, 7, 7), "scales": 2}, "7x7 pixels cannot be seen at 2 scales"),
        ({"shape": (1, 8, 8), "scales": 0}, "at 0 scales"),
        ({"shape": (1, 8, 8), "alpha": 0.5}, "alpha is between"),
        ({"shape": (1, 8, 8), "trace": "none"}, "trace is one of"),
        ({"shape": (1, 8, 8), "activation": "none"}, "There is no activation"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageFlow(**options)


def test_noise_of_another_size_and_trajectories_are_refused():
    with pytest.raises(ValueError, match="points of 64 numbers"):
        small().invert(torch.randn(2, 63))
    with pytest.raises(NotImplementedError, match="multiscale"):
        small().trajectories(torch.randn(2, 64), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("trace", ["rademacher", "exact"])
def test_only_the_velocities_have_to_stay(trace):
    """Hidden channels of every field can leave; its last layer makes the image."""
    flow, x = small((1, 4, 4), scales=2, trace=trace), images(2, (1, 4, 4))
    graph = build_graph(flow, lambda: flow(x), len(x))
    assert sorted(graph.pinned) == [f"fields.{number}.layers.2" for number in range(3)]


def test_weights_are_pruned_as_a_share_of_all_parameters():
    flow = small()
    parameters = sum(parameter.numel() for parameter in flow.parameters())
    prune(flow, "magnitude", 0.5)
    kept = sum(int(parameter.count_nonzero()) for parameter in flow.parameters())
    assert kept == pytest.approx(parameters / 2, abs=1)
    assert bool(flow(images()).isfinite().all())


def test_filters_are_pruned_whole():
    flow, x = small(hidden=(8, 8)), images()
    report = prune(flow, "filter_norm", 0.6, example=x)
    assert bool(flow(x).isfinite().all())
    kept = [note.split(" keeps its units")[0] for note in report.notes]
    assert kept == [f"fields.{number}.layers.2" for number in range(3)]
    gone = 0
    for field in flow.fields:
        for layer, reader in zip(field.layers, field.layers[1:], strict=False):
            rows = (layer.weight == 0).flatten(1).all(1)
            gone += int(rows.sum())
            assert not bool(layer.bias[rows].any())
            columns = reader.weight.transpose(0, 1).flatten(1)
            # time, the last one, stays
            assert (columns == 0).all(1).tolist() == [*rows.tolist(), False]
    assert gone
