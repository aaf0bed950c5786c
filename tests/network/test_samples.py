"""How many samples a criterion has to see."""

import pytest
import torch
from torch import nn

from lightning_prune import Samples
from lightning_prune.models import LeNet300, ResNet
from lightning_prune.network.network import Network
from lightning_prune.network.samples import check_amount, outputs_per_sample

# exponents of the failure probability, and the sizes that a sweep over them has for LeNet-300-100
# in the authors' scripts (lucaslie/torchprune, paper/sipp/script/sweep_s.py)
SWEEP = {1: 49, 2: 56, 4: 70, 6: 83, 8: 97, 10: 111, 12: 125, 14: 139, 16: 152}
SWEEP |= {20: 180, 24: 208, 28: 235, 32: 263}


def network(model, *shape):
    example = torch.zeros(2, *shape)
    return Network(model, None, lambda: model(example), 2)


def numbered(model, *shape, **options):
    return Samples(**options).numbered(network(model, *shape)).number


def test_the_formula_by_hand():
    """Two layers of 2 and 1 outputs: eta = 3, eta* = 2; 3 ln(8 * 2 * 3 / 0.1) = 18.5..."""
    net = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 1))
    assert numbered(net, 4, failure=0.1) == 19


@pytest.mark.parametrize(("exponent", "size"), SWEEP.items())
def test_sizes_for_the_lenet_are_those_of_the_authors(exponent, size):
    assert Samples(failure=10.0**-exponent).sufficient([300, 100, 10]) == size


@pytest.mark.parametrize(
    ("model", "shape", "size"),
    [
        # the authors' networks: sizes in a comment and a constant of their program
        (LeNet300(), (1, 28, 28), 152),
        (ResNet(20, shortcut="B"), (3, 32, 32), 183),
        # by the formula: 7 * 16 * 32^2 + 6 * 32 * 16^2 + 6 * 64 * 8^2 + 10 outputs = 188,426
        (ResNet(20), (3, 32, 32), 183),
        (ResNet(56), (3, 32, 32), 186),
        (ResNet(8, channels=1, stem_stride=2), (1, 28, 28), 170),
    ],
    ids=["LeNet-300-100", "ResNet-20 B", "ResNet-20 A", "ResNet-56 A", "ResNet-8"],
)
def test_sizes_for_the_networks_that_are_shipped(model, shape, size):
    assert numbered(model, *shape) == size


def test_outputs_are_filters_times_positions_over_all_calls():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 6, 3, groups=2)
            self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
            self.mix = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.mix(self.mix(self.up(self.conv(x))))

    net = network(Net(), 2, 5, 5)
    layers = {layer.name: layer for layer in net.graph().traced(net.layers)}
    assert outputs_per_sample(layers["conv"]) == 6 * 9
    assert outputs_per_sample(layers["mix"]) == 4 * 36 * 2
    # filters times the places that the kernel is laid on, of which outputs may share some
    assert outputs_per_sample(layers["up"]) == 4 * 9


def test_a_number_is_taken_as_it_is_and_traces_nothing():
    net = Network(nn.Linear(2, 2))
    assert Samples(7).numbered(net) == Samples(7)
    with pytest.raises(ValueError, match="no example input"):
        Samples().numbered(net)


@pytest.mark.parametrize("number", [0, -1, 2.5, True, "many"])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(ValueError, match=r"Samples\(number=\.\.\.\) is a whole number"):
        Samples(number)
    with pytest.raises(ValueError, match=r"batches=\.\.\. is Samples\(\.\.\.\) or a whole number"):
        check_amount(number)


@pytest.mark.parametrize("failure", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_what_is_no_probability_is_refused(failure):
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        Samples(failure=failure)
