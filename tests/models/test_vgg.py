import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune import prune
from lightning_prune.models import VGG
from lightning_prune.network.graph import build_graph


def test_vgg16_has_the_known_size():
    # 13 convolutions with biases, their norms, and 512 * 10 + 10
    assert sum(p.numel() for p in VGG().parameters()) == 14_728_266


def test_a_quarter_of_the_width():
    net = VGG(width_factor=0.25)
    assert net.features[0].out_channels == 16
    assert net.fc.in_features == 128
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_multiply_adds_equal_those_of_torch():
    net, x = VGG(((4, 4), (6,)), classes=3).eval(), torch.randn(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter:
        net(x)
    assert build_graph(net, lambda: net(x), 2).macs == counter.get_total_flops() / 2 / 2


def test_half_of_the_parameters_stay():
    net = VGG(((4, 4), (6,)), classes=3)
    size = sum(p.numel() for p in net.parameters())
    prune(net, "magnitude", 0.5)
    assert sum(int(p.count_nonzero()) for p in net.parameters()) <= 0.5 * size + 1


@pytest.mark.parametrize("size", [1, 8, 28, 33])
def test_images_of_any_size(size):
    assert VGG(width_factor=0.1, channels=1).eval()(torch.randn(2, 1, size, size)).shape == (2, 10)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        VGG(classes=0)
