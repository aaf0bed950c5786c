import pytest
import torch

from lightning_prune.models import LeNet300


def test_lenet_300_100_has_the_known_size():
    assert (
        sum(p.numel() for p in LeNet300().parameters()) == 266_610
    )  # 784*300+300 + 300*100+100 + 1010


def test_images_are_flattened_inside():
    net = LeNet300(inputs=64, classes=3, hidden=(5,))
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(net(images), net(images.flatten(1)))
    assert net(images).shape == (2, 3)


def test_wrong_sizes_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"pass inputs=64\."):
        LeNet300()(torch.randn(2, 1, 8, 8))
    with pytest.raises(ValueError, match="at least 1"):
        LeNet300(hidden=(300, 0))
