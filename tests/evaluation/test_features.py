"""Informative features: orders that a linear network dictates, and what is counted on the way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.evaluation import backward_selection, informative_features


class Linear(nn.Module):
    """Logits (0, w.x) of images, counting the images that it sees."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight, self.seen = nn.Parameter(weight), 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        total = (images * self.weight).flatten(1).sum(1, keepdim=True)
        return torch.cat([torch.zeros_like(total), total], 1)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 3),
    ).double()  # fmt: skip


def parts(net: Linear, images: Tensor) -> Tensor:
    """(n, units): what each pixel adds to the logit of the class that is predicted."""
    added = (images * net.weight.detach()).sum(1).flatten(1)
    return torch.where(added.sum(1, keepdim=True) > 0, added, -added)


def test_a_linear_network_loses_the_smallest_part_first():
    net = Linear(torch.randn(1, 4, 5, dtype=torch.float64))
    images = torch.randn(12, 1, 4, 5, dtype=torch.float64)
    assert set(net(images).argmax(1).tolist()) == {0, 1}
    assert torch.equal(backward_selection(net, images), parts(net, images).argsort(1))


def test_a_pixel_is_taken_out_of_all_channels():
    net = Linear(torch.randn(3, 3, 3, dtype=torch.float64))
    images = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    assert torch.equal(backward_selection(net, images), parts(net, images).argsort(1))


def test_certainty_does_not_hide_the_order():
    """Single precision has 1 for the softmax of any of these, with or without a pixel."""
    net, images = Linear(torch.ones(1, 1, 4)), torch.tensor([[[[70.0, 50.0, 90.0, 60.0]]]])
    assert backward_selection(net, images).tolist() == [[1, 3, 0, 2]]


def test_of_equal_pixels_the_first_goes_first():
    net, images = Linear(torch.ones(1, 2, 3)), torch.ones(2, 1, 2, 3)
    assert backward_selection(net, images).tolist() == [[0, 1, 2, 3, 4, 5]] * 2


def test_blocks_add_up_their_pixels():
    """5 x 4 pixels have 3 x 2 blocks, of which the lower ones are half as high."""
    net = Linear(torch.randn(1, 5, 4, dtype=torch.float64))
    images = torch.randn(6, 1, 5, 4, dtype=torch.float64)
    added = nn.functional.pad(parts(net, images).view(6, 1, 5, 4), (0, 0, 0, 1))
    sums = nn.functional.avg_pool2d(added, 2).flatten(1)
    assert torch.equal(backward_selection(net, images, block=2), sums.argsort(1))


def test_removed_pixels_have_the_value():
    """Against a value of 2 the loss of a pixel is w (x - 2)."""
    net = Linear(torch.rand(1, 3, 3, dtype=torch.float64) + 5)
    images = torch.rand(4, 1, 3, 3, dtype=torch.float64) + 3
    expected = ((images - 2) * net.weight.detach()).flatten(1).argsort(1)
    assert torch.equal(backward_selection(net, images, value=2.0), expected)


@pytest.mark.parametrize(("remove", "seen"), [(1, 78), (4, 1 + 12 + 8 + 4), (5, 1 + 12 + 7 + 2)])
def test_how_many_images_the_network_sees(remove, seen):
    """With 12 units 1 + 12 + 11 + ... + 2, or fewer where several go at once; the order is one."""
    net, steps = Linear(torch.randn(1, 3, 4, dtype=torch.float64)), []
    images = torch.randn(3, 1, 3, 4, dtype=torch.float64)
    order = backward_selection(net, images, remove=remove, progress=lambda *s: steps.append(s))
    assert net.seen == 3 * seen
    assert torch.equal(order, parts(net, images).argsort(1))
    assert steps[-1] == (12, 12)
    assert len(steps) == -(-12 // remove)


@pytest.mark.parametrize("remove", [1, 3])
def test_batches_do_not_matter(remove):
    net, images = convolutional(), torch.randn(6, 2, 4, 4, dtype=torch.float64)
    whole, small = (
        backward_selection(net, images, remove=remove, batch_size=size) for size in (1024, 5)
    )
    assert torch.equal(whole, small)
    assert torch.equal(whole.sort(1).values, torch.arange(16).expand(6, 16))
    alone = torch.cat([backward_selection(net, image[None], remove=remove) for image in images])
    assert torch.equal(whole, alone)


def test_the_network_stays_as_it_is():
    net, images = convolutional(), torch.randn(3, 2, 4, 4, dtype=torch.float64)
    before = net[1].running_mean.clone()
    kept = images.clone()
    backward_selection(net, images, block=2)
    assert net.training
    assert torch.equal(net[1].running_mean, before)
    assert torch.equal(images, kept)


def test_what_is_not_finite_goes_last():
    class Fragile(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) / (images[:, 0, 0, :1] != 0)

    net, images = Fragile(torch.ones(1, 1, 3)), torch.tensor([[[[1.0, 3.0, 2.0]]]])
    assert backward_selection(net, images).tolist() == [[2, 1, 0]]


def test_networks_that_look_at_different_pixels():
    """Each knows the class by its own half: with the other's half it can say nothing."""
    labels = torch.tensor([0, 1, 0, 1])
    signs = (2.0 * labels - 1)[:, None, None, None]
    images = signs * torch.ones(4, 1, 2, 2)
    upper, lower = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    upper[:, 0], lower[:, 1] = 3, 3
    networks = {"upper": Linear(upper), "lower": Linear(lower)}
    rows = informative_features(networks, images, labels, 0.5)
    pairs = {(row["ranked_by"], row["judged_by"]): row for row in rows}
    sure = float(torch.tensor(6.0).sigmoid())
    for name in networks:
        own = pairs[name, name]
        assert (own["confidence"], own["accuracy"]) == (pytest.approx(sure), 1)
        assert (own["units"], own["kept"], own["images"]) == (4, 2, 4)
    for pair in (("upper", "lower"), ("lower", "upper")):
        # of equal logits the first class is predicted
        assert (pairs[pair]["confidence"], pairs[pair]["accuracy"]) == (0.5, 0.5)


def test_the_whole_image_is_judged_as_it_is():
    net, images = convolutional(), torch.randn(8, 2, 4, 4, dtype=torch.float64)
    labels = torch.arange(8) % 3
    (row,) = informative_features({"n": net}, images, labels, 1.0, block=2, remove=2, batch_size=3)
    with torch.no_grad():
        logits = net.eval()(images)
    expected = logits.softmax(1)[torch.arange(8), labels].mean()
    assert row["confidence"] == pytest.approx(float(expected))
    assert row["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))


def test_at_least_one_unit_stays():
    net, images = Linear(torch.ones(1, 2, 2)), torch.ones(1, 1, 2, 2)
    (row,) = informative_features({"n": net}, images, torch.tensor([1]), 0.01, value=-1.0)
    assert row["kept"] == 1
    assert row["confidence"] == pytest.approx(float(torch.tensor(-2.0).sigmoid()))


def test_bad_input_is_refused():
    net, images = Linear(torch.ones(1, 2, 2)), torch.ones(3, 1, 2, 2)
    with pytest.raises(ValueError, match="floating-point tensor of"):
        backward_selection(net, images[0])
    with pytest.raises(ValueError, match="floating-point tensor of"):
        backward_selection(net, images.byte())
    with pytest.raises(ValueError, match="block is 1 pixel"):
        backward_selection(net, images, block=0)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        backward_selection(net, images, remove=0)
    with pytest.raises(ValueError, match=r"share in \(0, 1\], not 0"):
        informative_features({"n": net}, images, torch.zeros(3), 0)
    with pytest.raises(ValueError, match="3 images do not have"):
        informative_features({"n": net}, images, torch.zeros(2))
