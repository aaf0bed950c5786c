"""Random scores: the same for the same seed and layer, and independent of everything else."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lightning_prune.criteria import Random
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Filters, Weights


def layers(outputs=30):
    return find_layers(nn.Sequential(nn.Linear(20, outputs), nn.Linear(outputs, 20)))


def test_scores_lie_in_the_unit_interval_and_spread_over_it():
    score = Random().score(layers(500)[0], Weights())
    assert score.min() >= 0
    assert score.max() < 1
    assert abs(score.mean() - 0.5) < 0.02  # of 10,000; standard deviation 0.003
    assert abs(score.std() - 12**-0.5) < 0.02


def test_they_do_not_depend_on_the_weights_or_the_random_state():
    first = Random().score(layers()[0], Weights())
    torch.manual_seed(99)
    again = Random().score(layers()[0], Weights())  # other weights, other state
    assert torch.equal(first, again)


def test_another_seed_and_another_layer_have_other_scores():
    one, two = layers()
    scores = [Random(seed).score(layer, Weights()) for seed in (0, 1) for layer in (one, two)]
    for i, score in enumerate(scores):
        for other in scores[:i]:
            correlation = torch.corrcoef(torch.stack([score, other]))[0, 1]
            assert abs(correlation) < 0.2  # of 600; standard deviation 0.04


def test_there_is_one_score_a_unit():
    (layer, _) = layers()
    assert len(Random().score(layer, Filters())) == 30
    assert len(Random().score(layer, Weights())) == 600


@pytest.mark.slow
def test_another_process_scores_the_same():
    """Python's own hash of a name differs from process to process."""
    program = (
        "from torch import nn\n"
        "from lightning_prune.criteria import Random\n"
        "from lightning_prune.network.layers import find_layers\n"
        "from lightning_prune.structures import Weights\n"
        "layer, = find_layers(nn.Sequential(nn.Linear(3, 2)))\n"
        "print(Random(5).score(layer, Weights()).tolist())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    (layer,) = find_layers(nn.Sequential(nn.Linear(3, 2)))
    assert run.stdout.strip() == str(Random(5).score(layer, Weights()).tolist())


def test_negative_and_large_seeds_are_seeds_too():
    one, _ = layers()
    scores = [Random(seed).score(one, Weights()) for seed in (-1, 2**31, 0)]
    assert not torch.equal(scores[0], scores[2])
    assert not torch.equal(scores[1], scores[2])
