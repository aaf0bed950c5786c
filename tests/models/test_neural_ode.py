"""Neural ODEs: layers, classifiers, convolutional networks, and fields of one's own."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from lightning_prune.models import CNF, MLPField, NeuralODE, ODEClassifier, ODENet
from lightning_prune.models.fields import Wrapped, as_field
from lightning_prune.solve import TIGHT, Solver

# torch among itself, at the first use of jvp
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
X = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
FALLING = torch.tensor([0.0, 0.3, 1.0])


class Timed(nn.Module):
    """A user's field of time and states."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, t, x):
        return torch.tanh(self.layer(x)) * (1 + t)


def plain():
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))


def test_a_layer_is_a_solve():
    layer = NeuralODE(nn.Identity(), Solver("rk4", 20), end_time=0.5)
    torch.testing.assert_close(layer(X), X * torch.tensor(0.5).exp())
    states = layer.states(X, (0.0, 1.0, 2.0))
    torch.testing.assert_close(states[2], X * torch.tensor(2.0).exp(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"end_time is > 0, got 0\.$"):
        NeuralODE(nn.Identity(), end_time=0)


@pytest.mark.parametrize("make", [plain, Timed, lambda: MLPField(2, (4,), time=True)])
@pytest.mark.parametrize("gradient", ["autograd", "adjoint"])
def test_any_module_can_be_a_field(make, gradient):
    field, solver = make(), Solver("rk4", 4, gradient=gradient)
    for model in (NeuralODE(field, solver), CNF(field, solver=solver)):
        model.zero_grad()
        model(X).sum().backward()
        assert all(bool(p.grad.any()) for p in field.parameters())
    t = torch.tensor(0.4)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: as_field(field)(t, x[None])[0]))(X)
    velocity, divergence = as_field(field).divergence(t, X)
    torch.testing.assert_close(velocity, as_field(field)(t, X))
    torch.testing.assert_close(divergence, jacobian.diagonal(dim1=1, dim2=2).sum(1))
    with torch.inference_mode():
        assert CNF(field).log_prob(X, TIGHT).shape == (5,)
        assert CNF(field).sample(3).shape == (3, 2)


def test_a_field_of_time_sees_time():
    assert not torch.equal(Wrapped(Timed())(torch.zeros(()), X), 0 * X)
    field = Wrapped(Timed())
    early, late = (field(torch.tensor(t), X) for t in (0.0, 1.0))
    torch.testing.assert_close(late, 2 * early)
    own = MLPField(2, (4,))
    assert as_field(own) is own


def test_fields_without_parameters_can_be_sampled():
    assert CNF(nn.Identity()).sample(4).shape == (4, 2)


def test_the_state_of_a_classifier_is_its_logits():
    model = ODEClassifier(solver=Solver("rk4", 5))
    assert isinstance(model.head, nn.Identity)
    torch.testing.assert_close(model(X), model.flow(X))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(model(X), X)
    assert (model.tally.solves, model.tally.forward) == (3, 60)


def test_an_augmented_classifier_has_more_dimensions_and_a_head():
    model = ODEClassifier(2, 3, (6,), augment=2)
    assert model(X).shape == (5, 3)
    assert (model.head.in_features, model.head.out_features) == (4, 3)
    way = model.trajectories(X, FALLING)
    assert way.shape == (3, 5, 4)
    assert torch.equal(way[0], torch.cat([X, 0 * X], 1))
    torch.testing.assert_close(model.head(way[-1]), model(X), atol=1e-5, rtol=1e-4)
    assert isinstance(ODEClassifier(2, 3).head, nn.Linear)
    assert ODEClassifier(64, 10, (8,))(IMAGES).shape == (3, 10)


def test_circles_are_separated_by_an_augmented_state():
    """Where the state is not augmented, the plane keeps its topology."""
    angles = torch.arange(0, 6.28, 0.2)
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    x = torch.cat([0.5 * ring, 1.5 * ring])
    labels = torch.arange(2).repeat_interleave(len(ring))
    model = ODEClassifier(2, 2, (16,), augment=1, solver=Solver("rk4", 2))
    optimizer = torch.optim.Adam(model.parameters(), 3e-2)
    for _ in range(80):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float((model(x).argmax(1) == labels).float().mean()) == 1


@pytest.mark.parametrize(
    "solver", [None, Solver("dopri5", atol=1e-3, rtol=1e-3, gradient="adjoint")]
)
def test_an_ode_net_learns_everywhere(solver):
    model = ODENet(1, 4, 5, solver=solver)
    logits = model(IMAGES)
    assert logits.shape == (3, 5)
    nn.functional.cross_entropy(logits, torch.arange(3)).backward()
    assert all(bool(p.grad.any()) for p in model.parameters())
    assert model.tally.solves == 1
    if solver is None:
        assert (model.tally.forward, model.tally.backward) == (8, 0)
    else:
        assert min(model.tally.forward, model.tally.backward) >= 8


def test_an_ode_net_takes_any_size_of_image():
    assert ODENet(3, 4, 7, stride=1)(torch.rand(2, 3, 9, 6)).shape == (2, 7)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: ODEClassifier(2, 3, (6,), augment=1), X),
        (lambda: ODENet(1, 4, 5), IMAGES),
        (lambda: NeuralODE(plain(), Solver("dopri5", gradient="adjoint")), X),
        (lambda: NeuralODE(Timed()), X),
    ],
)
def test_copies_pickles_and_states(make, x):
    model = make()
    expected = model(x).detach()
    other = make()
    other.load_state_dict(model.state_dict())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), other):
        torch.testing.assert_close(twin(x).detach(), expected)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(0.5)
        assert not torch.allclose(twin(x).detach(), expected)
        before = model.tally.forward
        twin(x)
        assert model.tally.forward == before
    torch.testing.assert_close(model(x).detach(), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ODEClassifier()(torch.zeros(4, 3)), "2 inputs and got 3; pass inputs=3"),
        (lambda: ODEClassifier(0), "inputs >= 1, classes >= 2 and augment >= 0, got 0, 2 and 0"),
        (lambda: ODEClassifier(classes=1), "got 2, 1 and 0"),
        (lambda: ODEClassifier(augment=-1), "got 2, 2 and -1"),
        (lambda: ODEClassifier(hidden=(0,)), "sizes of at least 1"),
        (lambda: ODENet(width=0), "channels, width, classes and stride of at least 1"),
        (lambda: ODENet(stride=0), "channels, width, classes and stride of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert str(error.value).endswith(".")
    assert ". " not in str(error.value)


def test_another_solver_is_used_inside_and_the_own_one_again_behind():
    net = ODEClassifier(solver=Solver("euler", steps=1))
    x = torch.randn(5, 2)
    own = net(x)
    with net.solved_by(Solver("rk4", steps=8)):
        assert not torch.allclose(net(x), own, atol=1e-4)
    assert torch.equal(net(x), own)
