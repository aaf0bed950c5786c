"""Compiled steps: the same numbers, and nothing of the compiler in copies of the model."""

from __future__ import annotations

import copy
import pickle
import shutil

import pytest
import torch

from lightning_prune.models import CNF
from lightning_prune.models.fields import Field, MLPField
from lightning_prune.solve import Solver
from lightning_prune.solve.steps import _has_compiler

slow = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("g++") or shutil.which("c++")), reason="torch.compile needs a compiler"
    ),
    # torch among itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]
COMPILED, EAGER = Solver("midpoint", 2, compiled=True), Solver("midpoint", 2)


def flow(**options):
    torch.manual_seed(0)
    return CNF(MLPField(2, (6, 6), **options), solver=COMPILED)


def results(model, x, solver):
    """Values, and gradients of their mean."""
    model.zero_grad()
    values = model.log_prob(x, solver)
    values.mean().backward()
    return [values.detach(), *(p.grad.clone() for p in model.parameters())]


@pytest.fixture(scope="module")
def compiled():
    """A flow whose step is compiled, and points."""
    model, x = flow(), torch.randn(9, 2, generator=torch.Generator().manual_seed(1))
    results(model, x, COMPILED)
    return model, x


def steps(model):
    """What the fields hold of compiled code."""
    return [vars(f).get("_compiled_steps") for f in model._with_divergence]


class TestCompiled:
    pytestmark = slow

    def test_values_and_gradients_are_those_of_eager_steps(self, compiled):
        model, x = compiled
        assert steps(model)[0]._made
        for own, eager in zip(results(model, x, COMPILED), results(model, x, EAGER), strict=True):
            torch.testing.assert_close(own, eager, rtol=1e-5, atol=1e-5)

    def test_weights_that_change_are_seen(self, compiled):
        model, x = compiled
        before = model(x).detach()
        with torch.no_grad():
            model.fields[0].layers[1].weight[:3] = 0
        after = model(x).detach()
        assert not torch.allclose(before, after)
        torch.testing.assert_close(after, model.log_prob(x, EAGER).detach(), rtol=1e-5, atol=1e-5)

    def test_copies_and_pickles_work_and_hold_no_compiled_code(self, compiled):
        model, x = compiled
        expected = model.log_prob(x, EAGER).detach()
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert not steps(twin)[0]._made
            torch.testing.assert_close(twin.log_prob(x, EAGER).detach(), expected)
        assert steps(model)[0]._made
        torch.testing.assert_close(copy.deepcopy(model)(x).detach(), expected, rtol=1e-5, atol=1e-5)

    def test_hooks_that_come_later_are_called(self, compiled):
        model, x = compiled
        calls = []
        layer = model.fields[0].layers[0]
        handle = layer.register_forward_pre_hook(lambda *_: calls.append(1))
        model(x)
        assert len(calls) == COMPILED.evaluations
        handle.remove()
        calls.clear()
        model(x)
        assert not calls


def test_watched_fields_and_functions_take_plain_steps():
    model = flow()
    handle = model.fields[0].layers[0].register_forward_hook(lambda *_: None)
    model(torch.zeros(1, 2))
    assert steps(model) == [None]
    handle.remove()


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "relu"])
@pytest.mark.parametrize("hidden", range(8))
def test_the_shorter_trace_is_the_trace(monkeypatch, hidden, activation):
    """What is compiled for 2 to 7 hidden layers, of sizes that cannot be mistaken."""
    field = MLPField(3, [4, 6, 5, 9, 7, 8, 10][:hidden], activation).double()
    t, x = torch.zeros((), dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)

    def found(divergence):
        dx, trace = divergence(t, x)
        weights = [layer.weight for layer in field.layers]
        loss = (dx.sum(1) * trace).sum()
        return [dx, trace, *torch.autograd.grad(loss, weights)]

    plain = found(lambda t, x: Field.divergence(field, t, x))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    pushes = []
    monkeypatch.setattr(
        MLPField, "push", lambda *args, push=MLPField.push: pushes.append(1) or push(*args)
    )
    for own, expected in zip(found(field.divergence), plain, strict=True):
        torch.testing.assert_close(own, expected)
    assert len(pushes) == (hidden < 2)  # else it is not the plain way


def test_without_a_compiler_the_steps_are_plain_and_a_warning_says_so(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    _has_compiler.cache_clear()
    try:
        x = torch.randn(4, 2)
        flow = CNF(MLPField(2, (8, 8)), solver=Solver(compiled=True))
        with pytest.warns(UserWarning, match="no C\\+\\+ compiler"):
            found = flow.log_prob(x)
        torch.testing.assert_close(found, flow.log_prob(x, Solver()))
    finally:
        _has_compiler.cache_clear()
