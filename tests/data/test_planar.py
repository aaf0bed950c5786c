import math

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from scipy.spatial import cKDTree
from scipy.special import digamma

import lightning_prune
from lightning_prune.data import Planar
from lightning_prune.data.spiral import spiral_entropy
from lightning_prune.data.toys import TOYS

DENSITIES = ("gaussians", "gaussians_spiral", "spirals")
# points of each class, classes
PAPER = {
    "gaussians": (2730, 6), "gaussians_spiral": (1638, 10), "spirals": (16384, 2),
    "moons": (512, 2), "circles": (512, 2), "spiral_arms": (1024, 2),
}  # fmt: skip


def ready(*arguments, **options):
    data = Planar(*arguments, **options)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("kind", PAPER)
def test_sizes_are_the_papers_and_classes_are_even(kind):
    data, (each, classes) = ready(kind), PAPER[kind]
    sizes = {part: rows.targets.bincount().tolist() for part, rows in data.sets.items()}
    held = round(0.1 * each)
    assert sizes["train"] == [each - held] * classes
    assert sizes["val"] == [held] * classes
    assert sizes["test"] == [each // 2] * classes
    assert (data.classes, data.dims) == (classes, 2)
    inputs, targets = next(iter(data.train_dataloader()))
    assert (inputs.shape, inputs.dtype) == ((128, 2), torch.float32)
    assert (targets.shape, targets.dtype) == ((128,), torch.int64)


@pytest.mark.parametrize("kind", PAPER)
def test_data_are_a_function_of_their_own_seed_and_move_no_other_stream(kind):
    torch.manual_seed(5)
    np.random.seed(5)
    of_torch, of_numpy = torch.get_rng_state(), np.random.get_state()
    first = ready(kind, samples=200, seed=1)
    assert torch.equal(torch.get_rng_state(), of_torch)
    after = np.random.get_state()
    assert np.array_equal(after[1], of_numpy[1])
    assert after[2:] == of_numpy[2:]
    torch.manual_seed(6)
    np.random.seed(6)
    second, third = ready(kind, samples=200, seed=2), ready(kind, samples=200, data_seed=1)
    for part in ("train", "val", "test"):
        assert torch.equal(first.sets[part].inputs, second.sets[part].inputs)
        assert not torch.equal(first.sets[part].inputs, third.sets[part].inputs)


def test_global_streams_are_put_back_after_an_error():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    with pytest.raises(RuntimeError):
        TOYS["gaussians"].generate(-1, 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("kind", DENSITIES)
def test_densities_are_normalised_by_two_numbers_of_the_training_part(kind):
    data, raw = ready(kind), ready(kind, normalise=False)
    train = data.sets["train"].inputs.double()
    assert float(train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(train.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert (raw.mean, raw.std) == (0, 1)
    for part in ("train", "val", "test"):
        torch.testing.assert_close(
            data.sets[part].inputs * data.std + data.mean, raw.sets[part].inputs,
            atol=1e-5, rtol=1e-5,
        )  # fmt: skip
    # the floor moves with the coordinates
    assert data.floor == pytest.approx(raw.floor - 2 * math.log(data.std), abs=1e-6)


@pytest.mark.parametrize("kind", ["moons", "circles", "spiral_arms"])
def test_classes_are_not_normalised_unless_asked(kind):
    data = ready(kind)
    assert (data.mean, data.std, data.mixture, data.floor) == (0, 1, None, None)
    asked = ready(kind, normalise=True)
    assert float(asked.sets["train"].inputs.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert asked.floor is None


@pytest.mark.parametrize(("kind", "floor"), [("gaussians", 1.1317), ("gaussians_spiral", 0.525)])
def test_the_mixture_describes_the_points_truly(kind, floor):
    data = ready(kind)
    for part in ("train", "test"):
        points, labels = data.sets[part].inputs, data.sets[part].targets
        surprise = -data.mixture.log_prob(points)
        error = float(surprise.std()) / len(points) ** 0.5
        assert abs(float(surprise.mean()) - data.floor) < 3 * error
        for k in range(data.classes):
            mine, std = points[labels == k], float(data.mixture.stds[k])
            bound = 4 * std / len(mine) ** 0.5
            assert (mine.mean(0) - data.mixture.means[k]).abs().max() < bound
            assert float(mine.std(0).mean()) == pytest.approx(std, rel=0.06)
    # the reference's numbers are estimates from samples
    assert data.floor == pytest.approx(floor, abs=0.006)
    assert data.floor == pytest.approx(data.mixture.entropy(), abs=1e-5)


def test_the_entropy_of_the_spirals_agrees_with_its_neighbours():
    coarse, fine = spiral_entropy(0.5, 16), spiral_entropy(0.5, 48)
    assert coarse == pytest.approx(fine, abs=1e-3)
    # Kozachenko and Leonenko's estimate from distances, on arms drawn apart: torchdyn's arms mirror
    # each other, and where they overlap neighbours are no independent draws
    points, labels = TOYS["spirals"].generate(2**14, 0)
    other = TOYS["spirals"].generate(2**14, 1)[0]
    points = torch.where(labels[:, None] == 0, points, other).double().numpy()
    k, n = 4, len(points)
    distances = cKDTree(points).query(points, k + 1)[0][:, -1]
    estimate = digamma(n) - digamma(k) + math.log(math.pi) + 2 * np.log(distances).mean()
    assert estimate == pytest.approx(fine, abs=0.03)
    assert ready("spirals").mixture is None


def test_quick_runs_take_fewer_samples():
    data = ready("gaussians", samples=100, validation=0.25)
    assert {part: len(rows) for part, rows in data.sets.items()} == {
        "train": 72, "val": 24, "test": 48,
    }  # fmt: skip
    assert len(ready("circles", samples=101).sets["train"]) == 90
    assert ready("moons", samples=100, validation=0).val_dataloader() == []


def test_an_epoch_continues_in_the_middle():
    straight, again = (ready("moons", seed=3).train_dataloader() for _ in range(2))
    straight.sampler.set_epoch(1)
    batches = iter(straight)
    next(batches)
    again.load_state_dict(straight.state_dict())
    for batch, other in zip(list(batches), list(again), strict=True):
        assert torch.equal(batch[0], other[0])
        assert torch.equal(batch[1], other[1])


@pytest.mark.parametrize("kind", PAPER)
def test_the_yaml_makes_it(kind):
    cfg = lightning_prune.compose("train", f"data={kind}", "data.samples=60")
    data = instantiate(cfg.data)
    assert (data.kind, data.classes, data.dims) == (kind, cfg.dataset.classes, cfg.dataset.inputs)
    data.setup()
    assert len(data.sets["train"]) + len(data.sets["val"]) == 60


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="kind is one of gaussians, gaussians_spiral, spirals"):
        Planar("rings")
    with pytest.raises(ValueError, match="set samples to 12 or more, got 11"):
        Planar("gaussians", samples=11)
    with pytest.raises(ValueError, match="validation is a share"):
        Planar("moons", validation=1.0)
    with pytest.raises(ValueError, match="batch_size >= 1"):
        Planar("moons", batch_size=0)
    with pytest.raises(ValueError, match="noise > 0"):
        spiral_entropy(0.0)
