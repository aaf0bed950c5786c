"""Similarity under noise: closed forms of linear networks, and noise that is the same for all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.evaluation import noise_similarity, potential_over_noise
from lightning_prune.evaluation.memory import peak_bytes
from lightning_prune.evaluation.similarity import unit_noise


class Threshold(nn.Module):
    """Two classes of numbers: the second from a threshold on."""

    def __init__(self, threshold: float):
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        difference = x.flatten(1)[:, :1] - self.threshold
        return torch.cat([torch.zeros_like(difference), difference], 1)


class Watched(nn.Module):
    """Keeps the inputs that it has seen."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.clone())
        return x.flatten(1)[:, :2]


def small_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))


def test_a_network_is_like_itself():
    net, images = small_net(), torch.randn(20, 3, 2, 2)
    for row in noise_similarity(net, {"same": net}, images, [0, 0.5], draws=3):
        assert (row["matching"], row["matching_std"]) == (1, 0)
        assert (row["distance"], row["distance_std"]) == (0, 0)


@pytest.mark.parametrize("eps", [0.0, 0.2, 0.5, 1.0])
def test_two_thresholds_have_a_closed_form(eps):
    """They differ where x + u lies in [a, b), u being uniform in [-eps, eps).

    That is a share (min(b, x + eps) - max(a, x - eps)) / 2 eps of the noise.
    """
    a, b, x, count = -0.1, 0.3, 0.15, 40_000
    images = torch.full((count, 1), x, dtype=torch.float64)
    (row,) = noise_similarity(
        Threshold(a), {"other": Threshold(b)}, images, [eps], draws=1, batch_size=count
    )
    inside = (min(b, x + eps) - max(a, x - eps)) / (2 * eps) if eps else 1.0
    error = math.sqrt(inside * (1 - inside) / count)
    assert row["matching"] == pytest.approx(1 - inside, abs=4 * error + 1e-12)
    assert row["matching_std"] is None


def test_a_dense_network_and_its_noisy_self_part_monotonically():
    """Of x in [0, 1] above a threshold of 0 and another one's of -2, noise decides up to eps.

    The second network always says the second class, the first one unless x + u < 0: over x and
    u that is a share eps / 4 for eps up to 1.
    """
    images = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    sizes = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    rows = noise_similarity(Threshold(-2), {"n": Threshold(0)}, images, sizes, 5, batch_size=2001)
    found = [row["matching"] for row in rows]
    assert found == sorted(found, reverse=True)
    assert found == pytest.approx([1 - eps / 4 for eps in sizes], abs=0.015)


def test_noise_lies_around_zero_and_fills_its_range():
    noise = unit_noise(torch.empty(1000, 3, 4, 4), seed=0, draw=0)
    assert -1 <= float(noise.min()) < -0.999
    assert 0.999 < float(noise.max()) <= 1
    deviation = 1 / math.sqrt(3)
    assert float(noise.mean()) == pytest.approx(0, abs=4 * deviation / math.sqrt(noise.numel()))
    assert float(noise.std()) == pytest.approx(deviation, rel=0.01)
    assert float(noise.flatten(1)[:, :24].mul(noise.flatten(1)[:, 24:]).mean().abs()) < 0.01


def test_noise_is_of_seed_draw_and_image_alone():
    images = torch.empty(10, 4)
    whole = unit_noise(images, 0, 0)
    assert torch.equal(unit_noise(images[3:], 0, 0, 3), whole[3:])
    for other in (unit_noise(images, 1, 0), unit_noise(images, 0, 1), unit_noise(images, 0, 0, 1)):
        assert not torch.isclose(whole, other).any()
    state = torch.random.get_rng_state()
    unit_noise(images, 0, 0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_all_networks_and_sizes_share_the_noise():
    dense, other, images = Watched(), Watched(), torch.randn(6, 4)
    noise_similarity(dense, {"other": other}, images, [0.0, 0.1, 0.2], draws=2, batch_size=4)
    assert all(map(torch.equal, dense.inputs, other.inputs))
    assert len(dense.inputs) == 3 * 2 * 2
    plain, once, twice = dense.inputs[:3]
    assert torch.equal(plain, images[:4])
    assert torch.allclose(2 * (once - plain), twice - plain, atol=1e-6)


def test_batches_do_not_matter():
    dense, other, images = small_net(), small_net(), torch.randn(30, 3, 2, 2)
    labels = torch.arange(30) % 3
    found = [
        noise_similarity(dense, {"o": other}, images, [0.3], 4, labels=labels, batch_size=size)
        for size in (7, 30)
    ]
    (small,), (whole,) = found
    assert small.pop("network") == whole.pop("network")
    assert small.pop("accuracies") == pytest.approx(whole.pop("accuracies"))
    assert small.pop("dense_accuracies") == pytest.approx(whole.pop("dense_accuracies"))
    assert small == pytest.approx(whole, rel=1e-5)


def test_more_draws_take_no_more_memory():
    images = torch.randn(64, 3, 40, 40)
    dense, others = (Threshold(0), {str(i): Threshold(i) for i in (1, 2)})

    def run(draws: int) -> int | None:
        return peak_bytes(
            lambda: noise_similarity(dense, others, images, [0, 0.5], draws, batch_size=16),
            torch.device("cpu"),
        )

    few, many = run(2), run(10)
    # what grows is one number a draw, eps, network and sum, held up to three times
    assert many - few <= 3 * 8 * 8 * 2 * 2 * 4
    # the noise of a batch, and their sum
    assert many < 2.1 * images[:16].nbytes


def test_accuracies_and_deviations_are_by_draw():
    dense, other, images = Threshold(0), Threshold(0.2), torch.linspace(-1, 1, 50)[:, None]
    labels = (images[:, 0] > 0).long()
    calls = []
    plain, noisy = noise_similarity(
        dense, {"o": other}, images, [0.0, 0.5], 6, labels=labels,
        progress=lambda *done: calls.append(done),
    )  # fmt: skip
    assert plain["accuracies"] == [0.9] * 6
    assert plain["dense_accuracies"] == [1.0] * 6
    by_draw = torch.tensor(noisy["accuracies"], dtype=torch.float64)
    assert noisy["accuracy"] == pytest.approx(float(by_draw.mean()))
    assert noisy["dense_accuracy"] < 1
    assert noisy["matching_std"] > 0
    assert calls == [(draw, 6) for draw in range(1, 7)]
    assert "accuracies" not in noise_similarity(dense, {"o": other}, images, [0.0], 1)[0]


def test_networks_stay_as_they_are():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    before = net[1].running_mean.clone()
    rows = noise_similarity(net, {"same": net}, torch.randn(9, 4) + 5, [0.1], 2)
    assert rows[0]["matching"] == 1
    assert net.training
    assert torch.equal(net[1].running_mean, before)


def test_potentials_are_by_draw_and_then_their_mean():
    rows = [
        {"network": name, "eps": eps, "accuracies": own, "dense_accuracies": [0.9, 0.8]}
        for eps, found in {
            0.0: {"half": [0.9, 0.8], "tenth": [0.896, 0.81], "separate": [0.0, 0.0]},
            0.1: {"half": [0.9, 0.7], "tenth": [0.895, 0.7], "separate": [0.0, 0.0]},
        }.items()
        for name, own in found.items()
    ]
    first, second = potential_over_noise(rows, {"half": 0.5, "tenth": 0.1})
    assert first == {"eps": 0.0, "potential": pytest.approx(0.9), "potential_std": 0}
    assert second["eps"] == 0.1
    assert second["potential"] == pytest.approx(0.45)  # .9 of the first draw, none of the second
    assert second["potential_std"] == pytest.approx(0.9 / math.sqrt(2))
    with pytest.raises(ValueError, match="measured with labels"):
        potential_over_noise(rows, {"third": 0.3})
    with pytest.raises(ValueError, match="measured with labels"):
        potential_over_noise([{"network": "half", "eps": 0}], {"half": 0.5})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": torch.zeros(3, 4, dtype=torch.uint8)}, "floating-point"),
        ({"images": torch.zeros(0, 4)}, "floating-point"),
        ({"eps": [-0.1]}, "eps of"),
        ({"eps": []}, "eps of"),
        ({"draws": 0}, "0 draws"),
        ({"networks": {}}, "0 networks"),
        ({"labels": torch.zeros(2)}, "labels"),
    ],
)
def test_bad_input_is_refused(options, message):
    given = {"dense": Watched(), "networks": {"o": Watched()}, "images": torch.zeros(3, 4)}
    with pytest.raises(ValueError, match=message):
        noise_similarity(**{**given, **options})
