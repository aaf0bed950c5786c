import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from lightning_prune.data import Mixture

MEANS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])
STDS = torch.tensor([0.5, 1.0, 0.2])
WEIGHTS = torch.tensor([0.2, 0.5, 0.3])


def mixture():
    return Mixture(MEANS, STDS, WEIGHTS)


def test_the_density_is_that_of_torch():
    points = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)) * 3
    parts = Independent(Normal(MEANS, STDS[:, None].expand(3, 2)), 1)
    for weights in (WEIGHTS, None):
        chances = torch.full((3,), 1 / 3) if weights is None else weights
        torch.testing.assert_close(
            Mixture(MEANS, STDS, weights).log_prob(points),
            MixtureSameFamily(Categorical(chances), parts).log_prob(points),
        )


def test_the_density_integrates_to_one_and_the_posterior_to_bayes():
    axis = torch.linspace(-8, 10, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    exact = Mixture(MEANS.double(), STDS.double(), WEIGHTS.double())
    assert float(exact.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1)
    posterior = exact.posterior(grid[::97])
    torch.testing.assert_close(posterior.sum(1), torch.ones_like(posterior[:, 0]))
    # far out the widest component is all there is, and nothing overflows
    far = mixture().posterior(torch.tensor([[1e3, 1e3]]))
    assert far[0].tolist() == [0, 1, 0]


def test_draws_are_those_of_the_generator_and_of_the_mixture():
    before = torch.get_rng_state()
    points, which = mixture().sample(20_000, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert points.shape == (20_000, 2)
    assert which.dtype == torch.int64
    again = mixture().sample(20_000, torch.Generator().manual_seed(1))
    assert torch.equal(points, again[0])
    torch.testing.assert_close(which.bincount() / 20_000, WEIGHTS, atol=0.015, rtol=0)
    for k in range(3):
        mine = points[which == k]
        torch.testing.assert_close(mine.mean(0), MEANS[k], atol=0.05, rtol=0)
        torch.testing.assert_close(mine.std(0), STDS[k].expand(2), atol=0.03, rtol=0.03)
    surprise = -mixture().log_prob(points)
    error = float(surprise.std()) / 20_000**0.5
    assert abs(float(surprise.mean()) - mixture().entropy()) < 3 * error


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_the_entropy_has_its_closed_form_where_there_is_one(dims):
    one = dims / 2 * math.log(2 * math.pi * math.e * 0.3**2)
    alone = Mixture(torch.ones(1, dims), torch.tensor([0.3]))
    close = 1e-6 if dims < 3 else 0.05  # a draw
    assert alone.entropy() == pytest.approx(one, abs=close)
    # components that do not meet add the entropy of which one it is
    apart = Mixture(
        torch.stack([torch.zeros(dims), torch.full((dims,), 50.0)]), 0.3 * torch.ones(2)
    )
    assert apart.entropy() == pytest.approx(one + math.log(2), abs=close)
    # components on top of each other are one
    same = Mixture(torch.zeros(3, dims), torch.full((3,), 0.3))
    assert same.entropy() == pytest.approx(one, abs=close)


def test_other_coordinates_shift_the_entropy_by_the_scale():
    scaled = mixture().scaled(0.7, 2.5)
    points = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        scaled.log_prob((points - 0.7) / 2.5), mixture().log_prob(points) + 2 * math.log(2.5)
    )
    assert scaled.entropy() == pytest.approx(mixture().entropy() - 2 * math.log(2.5), abs=1e-5)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"means of \(m, d\) and m stds"):
        Mixture(MEANS, STDS[:2])
    with pytest.raises(ValueError, match="positive stds"):
        Mixture(MEANS, torch.zeros(3))
    with pytest.raises(ValueError, match=r"they add up to 2\."):
        Mixture(MEANS, STDS, 2 * WEIGHTS)
