"""Flatness: Hessians that are known in closed form, whole and by iteration."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.evaluation import Flatness, Hessian, flatness, hessian_product


def symmetric(values: list[float] | Tensor) -> Tensor:
    """A matrix with these eigenvalues, in directions at random."""
    values = torch.as_tensor(values, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))
    return basis @ values.diag() @ basis.T


def quadratic(matrix: Tensor, parameter: Tensor):
    return lambda: parameter @ matrix @ parameter / 2


def weights(count: int) -> Tensor:
    return (torch.rand(count, dtype=torch.float64) + 0.5).requires_grad_()


def test_of_a_quadratic_loss_all_numbers_are_those_of_its_matrix():
    values = [-0.5, 0.1, 0.4, 1.0, 2.0, 8.0]
    parameter = weights(6)
    found = flatness(quadratic(symmetric(values), parameter), [parameter])
    assert found.exact
    assert found.size == 6
    assert (found.largest, found.smallest) == pytest.approx((8.0, -0.5))
    assert (found.trace, found.trace_positive) == pytest.approx((11.0, 11.5))
    assert found.trace_error == 0
    assert found.condition == pytest.approx(80)
    # the sizes are .1 .4 .5 1 2 8
    assert found.condition_median == pytest.approx(8 / 0.75)
    assert found.negative == pytest.approx(1 / 6)
    assert parameter.grad is None


def test_entries_that_are_zero_are_left_out():
    matrix, parameter = symmetric([1.0, 2, 3, 4, 5]), weights(5)
    with torch.no_grad():
        parameter[[1, 3]] = 0
    hessian = Hessian(quadratic(matrix, parameter), [parameter])
    left = torch.tensor([0, 2, 4])
    assert torch.allclose(hessian.dense(), matrix[left][:, left])
    # a mask says more than zeros do
    mask = torch.tensor([True, True, False, False, False])
    product = hessian_product(quadratic(matrix, parameter), [parameter], [mask])
    vector = torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert torch.allclose(product(vector), matrix[:2, :2] @ vector)


def test_the_hessian_of_logistic_regression():
    """X' diag(p (1 - p)) X / n, with a column of ones for the bias."""
    inputs, labels = torch.randn(40, 3).double(), torch.randint(2, (40,)).double()
    net = nn.Linear(3, 1).double()
    with torch.no_grad():
        net.weight[0, 1] = 0

    def loss() -> Tensor:
        return F.binary_cross_entropy_with_logits(net(inputs).squeeze(1), labels)

    columns = torch.cat([inputs[:, [0, 2]], torch.ones(40, 1)], 1).double()
    chance = net(inputs).squeeze(1).sigmoid().detach()
    known = columns.T @ ((chance * (1 - chance))[:, None] * columns) / 40
    hessian = Hessian(loss, list(net.parameters()))
    assert hessian.loss == pytest.approx(loss().item())
    assert torch.allclose(hessian.dense(), known)
    found = flatness(loss, list(net.parameters()))
    assert found.largest == pytest.approx(float(torch.linalg.eigvalsh(known)[-1]))
    assert found.negative == 0


@pytest.fixture
def net_loss():
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    inputs, labels = torch.randn(64, 2), torch.randint(2, (64,))
    with torch.no_grad():
        net[2].weight[net[2].weight.abs() < 0.2] = 0
    return net, lambda: F.cross_entropy(net(inputs), labels)


def test_products_in_batches_are_those_one_by_one(net_loss):
    net, loss = net_loss
    hessian = Hessian(loss, list(net.parameters()))
    done = []
    together = hessian.dense(batch=7, progress=lambda *counts: done.append(counts))
    assert torch.allclose(together, hessian.dense(batch=1), atol=1e-6)
    assert done[-1] == (hessian.size, hessian.size)
    assert hessian.size == sum(int(p.count_nonzero()) for p in net.parameters())


def test_iteration_agrees_with_the_whole_matrix(net_loss):
    net, loss = net_loss
    exact = flatness(loss, list(net.parameters()))
    iterated = flatness(loss, list(net.parameters()), limit=0, probes=400)
    assert not iterated.exact
    assert iterated.size == exact.size
    assert iterated.loss == exact.loss
    assert iterated.largest == pytest.approx(exact.largest, rel=1e-3)
    assert iterated.smallest == pytest.approx(exact.smallest, rel=1e-2, abs=1e-5)
    assert abs(iterated.trace - exact.trace) < 4 * iterated.trace_error
    assert iterated.condition is iterated.negative is None
    assert flatness(loss, list(net.parameters()), limit=0, probes=400) == iterated
    single = flatness(loss, list(net.parameters()), limit=0, probes=400, batch=1)
    # the same probes
    assert single.trace == pytest.approx(iterated.trace, rel=1e-4)


def test_the_trace_of_a_diagonal_matrix_needs_no_luck():
    """Random signs square to 1, so every probe says the same."""
    parameter = weights(10)
    matrix = torch.arange(10.0).double().diag()
    found = flatness(quadratic(matrix, parameter), [parameter], limit=0, probes=2)
    assert found.trace == pytest.approx(45)
    assert found.trace_error == pytest.approx(0, abs=1e-12)
    assert found.largest == pytest.approx(9, rel=1e-3)


def test_a_linear_loss_is_flat_and_an_idle_parameter_has_zeros():
    slope, idle = weights(3), torch.tensor(2.0, requires_grad=True)
    found = flatness(lambda: slope.sum(), [slope, idle])
    assert (found.size, found.largest, found.trace) == (4, 0, 0)
    assert found.condition is found.condition_median is None
    curved = flatness(lambda: slope.square().sum(), [slope, idle])
    assert (curved.size, curved.trace) == (4, 6)


def test_relative_numbers_and_what_is_written():
    dense = Flatness(10, True, 1.0, 4.0, -1.0, 8.0, condition=100.0)
    pruned = Flatness(5, True, 1.0, 1.0, -1.0, 4.0, condition=50.0, condition_median=3.0)
    assert pruned.relative(dense) == {
        "largest": 0.25, "trace": 0.5, "condition": 0.5, "condition_median": None,
    }  # fmt: skip
    assert json.loads(json.dumps(dense.to_dict()))["largest"] == 4.0


def test_bad_input_is_refused():
    parameter = weights(3)
    loss = quadratic(torch.eye(3).double(), parameter)
    with pytest.raises(ValueError, match="requires no gradient"):
        flatness(loss, [parameter.detach()])
    with pytest.raises(ValueError, match="shapes of the parameters"):
        flatness(loss, [parameter], [torch.ones(2)])
    with pytest.raises(ValueError, match="is empty"):
        flatness(loss, [parameter], [torch.zeros(3)])
    with pytest.raises(ValueError, match="3 rows, the vector 2"):
        hessian_product(loss, [parameter])(torch.ones(2))
    with pytest.raises(ValueError, match="needs 2 probes"):
        flatness(loss, [parameter], limit=0, probes=1)
    with pytest.raises(ValueError, match="not finite"):
        flatness(lambda: parameter.square().sum() * float("inf"), [parameter])
