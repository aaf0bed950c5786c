"""Flows of points: their sizes, what they refuse, and what else they are asked for."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from lightning_prune.models import CNF, ConcatSquashField, MLPField, ODEClassifier, TabularFlow
from lightning_prune.solve import Solver

X = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))


def counted(model):
    return sum(parameter.numel() for parameter in model.parameters())


def small(**options):
    return CNF(MLPField(2, (5,)), **options)


@pytest.mark.parametrize("shape", [(6, 3), (6, 1), (2,), (6, 2, 1)])
def test_points_of_another_size_are_refused(shape):
    flow, x = small(), torch.zeros(shape)
    for use in (flow, flow.transform, flow.invert, lambda x: flow.trajectories(x, x.new_ones(2))):
        with pytest.raises(ValueError, match="points of 2 numbers and got") as error:
            use(x)
        assert str(error.value).count(". ") == 0
        assert str(tuple(shape)) in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(trace="none"), "trace is one of exact, rademacher, gaussian, not 'none'"),
        (lambda: small(end_time=0.0), "end_time > 0 and dims >= 1, got 0.0 and 2"),
        (lambda: small(dims=0), "end_time > 0 and dims >= 1"),
        (lambda: CNF([]), "at least one field"),
        (lambda: MLPField(0), "sizes of at least 1, got 0"),
        (lambda: MLPField(2, (3, 0)), r"sizes of at least 1, got 2 and \[3, 0\]"),
        (lambda: MLPField(2, (3,), "gelu"), "There is no activation 'gelu'; there are tanh"),
        (lambda: ConcatSquashField(2, (0,)), "sizes of at least 1"),
        (lambda: ConcatSquashField(2, (3,), "gelu"), "There is no activation 'gelu'"),
        (lambda: TabularFlow(3, blocks=0), "blocks, layers and factor of at least 1"),
        (lambda: TabularFlow(3, factor=0), "blocks, layers and factor of at least 1"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert str(error.value).endswith(".")
    assert ". " not in str(error.value)


def test_a_solver_and_a_trace_may_be_given_for_one_call():
    flow = small(solver=Solver("euler", 3))
    for solver, evaluations in ((None, 3), (Solver("rk4", 2), 8)):
        flow.tally.reset()
        flow.log_prob(X, solver)
        assert (flow.tally.solves, flow.tally.forward) == (1, evaluations)
    torch.testing.assert_close(flow.log_prob(X, trace="exact"), flow(X))
    assert not torch.equal(flow.log_prob(X, trace="gaussian"), flow(X))


@torch.no_grad()
def test_samples_repeat_and_are_the_inverse_of_noise():
    flow = small()
    first, again = (flow.sample(8, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    z = torch.randn(8, 2, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(first, flow.invert(z)[0])
    assert flow.double().sample(3).dtype == torch.float64


def test_the_probes_of_a_flow_belong_to_a_solve():
    flow = small(trace="rademacher")
    torch.manual_seed(0)
    flow.log_prob(X, Solver("rk4", 2))
    short = torch.get_rng_state()
    torch.manual_seed(0)
    flow.log_prob(X, Solver("rk4", 7))
    assert torch.equal(short, torch.get_rng_state())
    assert not torch.equal(flow(X), flow(X))


@pytest.mark.parametrize("gradient", ["autograd", "adjoint", "interpolated_adjoint"])
@pytest.mark.parametrize("trained", [True, False])
def test_end_times_learn_if_they_should(trained, gradient):
    """The original never trains them."""
    flow = TabularFlow(
        3, 2, 1, 2, solver=Solver("dopri5", gradient=gradient), trainable_end_time=trained
    )
    flow(torch.randn(5, 3)).mean().backward()
    for root in flow.roots:
        assert (root.grad is not None and float(root.grad.abs()) > 0) == trained
    assert all(bool(p.grad.isfinite().all()) for p in flow.fields.parameters())


@torch.no_grad()
def test_an_end_time_is_when_the_fields_end():
    flow = small(end_time=0.5, trainable_end_time=True)
    torch.testing.assert_close(float(flow.end(0)), 0.5)
    plain = CNF(flow.fields[0], end_time=0.5)
    torch.testing.assert_close(flow(X), plain(X))
    flow.roots[0].fill_(1.1)
    torch.testing.assert_close(flow(X), CNF(flow.fields[0], end_time=1.21)(X))


@torch.no_grad()
def test_several_fields_are_one_after_another():
    flow = CNF([MLPField(2, (5,)) for _ in range(2)])
    middle, first = CNF(flow.fields[0]).transform(X)
    end, second = CNF(flow.fields[1]).transform(middle)
    z, logdet = flow.transform(X)
    torch.testing.assert_close(z, end)
    torch.testing.assert_close(logdet, first + second)


def test_copies_pickles_states_and_inference():
    flow = TabularFlow(2, 2, 1, 3, trace="exact")
    expected = flow(X).detach()
    other = TabularFlow(2, 2, 1, 3, trace="exact")
    other.load_state_dict(flow.state_dict())
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), other):
        with torch.inference_mode():
            torch.testing.assert_close(twin(X), expected)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert not torch.allclose(twin(X), expected)  # its solves are those of its own fields
    torch.testing.assert_close(flow(X), expected)


def test_a_velocity_may_be_asked_for():
    flow = small()
    torch.testing.assert_close(flow.velocity(0.3, X), flow.fields[0](torch.tensor(0.3), X).detach())


# counted by hand from the shapes
SIZES = {
    43_325: lambda: TabularFlow(6, 5, 3, 10),
    278_565: lambda: TabularFlow(8, 5, 3, 20),
    546_850: lambda: TabularFlow(21, 10, 2, 10, "softplus"),
    820_613: lambda: TabularFlow(43, 1, 2, 20, "softplus"),
    6_698_666: lambda: TabularFlow(63, 2, 3, 20, "softplus"),
    8_642: lambda: CNF(MLPField(2, (64, 64, 64), "sigmoid")),
    642: lambda: CNF(MLPField(2, (128,), "sigmoid")),
    17: lambda: ODEClassifier(hidden=(3,)),
    162: lambda: ODEClassifier(hidden=(32,)),
    322: lambda: ODEClassifier(hidden=(64,)),
    2_274: lambda: ODEClassifier(hidden=(32,) * 3),
    33_666: lambda: ODEClassifier(hidden=(128,) * 3),
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_those_of_sparse_flows(size):
    with torch.device("meta"):
        assert counted(SIZES[size]()) == size


def test_the_other_classifiers_size_too():
    assert counted(ODEClassifier(hidden=(128,))) == 642


def test_a_field_that_is_replaced_is_the_one_that_is_solved():
    flow = CNF(MLPField(2, (8,)))
    x, other = torch.randn(4, 2), MLPField(2, (8,))
    flow.log_prob(x)
    flow.fields[0] = other
    torch.testing.assert_close(flow.log_prob(x), CNF(other).log_prob(x))
