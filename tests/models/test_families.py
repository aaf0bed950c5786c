"""What every model has: its known size, a trace, filters that can be removed, a seed."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune import prune
from lightning_prune.models import VGG, LeNet5, LeNet300, MobileNetV2, ResNet, ViT, WideResNet
from lightning_prune.network.graph import build_graph

# parameters, of which source
KNOWN = {
    # Zagoruyko & Komodakis (2016), tables 4 and 5: 11.0 M, 36.5 M; counted exactly
    "wrn16_8": (lambda: WideResNet(16, 8), 10_961_370),
    "wrn28_10": (lambda: WideResNet(28, 10), 36_479_194),
    "wrn28_2": (lambda: WideResNet(28, 2), 1_467_610),
    # Han et al. (2015), table 1: 431 K and 267 K
    "lenet5": (lambda: LeNet5(), 431_080),
    "lenet_300_100": (lambda: LeNet300(), 266_610),
    # Liebenwein et al. (2021): VGG16 with batch norm for CIFAR
    "vgg16_bn": (lambda: VGG(), 14_728_266),
    "resnet110": (lambda: ResNet(110), 1_727_962),
}
SMALL = {
    "wide_resnet": (lambda: WideResNet(10, 0.25, channels=1), (1, 8, 8)),
    "lenet5": (lambda: LeNet5(16, filters=(3, 4), hidden=5), (1, 16, 16)),
    "mobilenet_v2": (lambda: MobileNetV2(0.25, halvings=1), (3, 8, 8)),
    "vgg": (lambda: VGG(((4, 4), (6,)), channels=1), (1, 8, 8)),
    "vit": (lambda: ViT(8, 4, 3, 1, width=8, depth=2, heads=2, hidden=12), (1, 8, 8)),
}


def size(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("name", KNOWN)
def test_parameter_counts_of_the_literature(name: str):
    make, parameters = KNOWN[name]
    with torch.device("meta"):
        assert size(make()) == parameters


@pytest.mark.parametrize("width", [0.35, 0.5, 1.0, 1.4])
def test_mobilenet_is_as_large_as_torchvision_s(width: float):
    from torchvision.models import mobilenet_v2

    with torch.device("meta"):
        ours, theirs = MobileNetV2(width, 1000, halvings=5), mobilenet_v2(width_mult=width)
    assert size(ours) == size(theirs)
    assert width != 1 or size(ours) == 3_504_872


def test_mobilenet_computes_what_torchvision_s_does():
    """The same tensors in the same order, so the strides and shortcuts are the same, too."""
    from torchvision.models import mobilenet_v2

    ours, theirs = MobileNetV2(0.35, 10, halvings=5), mobilenet_v2(num_classes=10, width_mult=0.35)
    state = dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-6)


@pytest.mark.parametrize(("halvings", "side"), [(0, 32), (1, 16), (3, 4), (5, 1)])
def test_mobilenet_halves_as_often_as_it_is_told(halvings: int, side: int):
    net = MobileNetV2(0.25, halvings=halvings).eval()
    assert net.features(torch.randn(1, 3, 32, 32)).shape[-2:] == (side, side)


def test_vit_b_16_is_as_large_as_torchvision_s():
    from torchvision.models import vit_b_16

    with torch.device("meta"):
        ours = ViT(224, 16, 1000, 3, width=768, depth=12, heads=12, hidden=3072)
        assert size(ours) == size(vit_b_16()) == 86_567_656


@pytest.mark.parametrize("name", SMALL)
def test_multiply_adds_are_those_that_torch_counts(name: str):
    make, shape = SMALL[name]
    net, images = make().eval(), torch.randn(2, *shape)
    with FlopCounterMode(display=False) as counter:
        net(images)
    graph = build_graph(net, lambda: net(images), 2)
    attention = graph.macs - counter.get_total_flops() / 4
    # torch's counter does not know every fused kernel of attention
    assert attention == 0 or (name == "vit" and attention > 0)


@pytest.mark.parametrize("method", ["magnitude", "filter_norm_global", "channel_norm", "rigl"])
@pytest.mark.parametrize("name", SMALL)
def test_every_method_meets_its_budget(name: str, method: str):
    make, shape = SMALL[name]
    net, images = make(), torch.randn(4, *shape)
    data = [(images, torch.zeros(4, dtype=torch.int64))]
    more = {"loader": data, "loss": cross_entropy} if method == "rigl" else {}
    report = prune(net, method, 0.8, example=images, **more)
    assert report.left <= report.budget
    # biases of norms are zero from the start
    assert report.nonzero <= report.left
    assert net(images).isfinite().all()


def cross_entropy(net: torch.nn.Module, batch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(net(batch[0]), batch[1])


def test_neurons_inside_a_transformer_s_blocks_can_leave():
    make, shape = SMALL["vit"]
    report = prune(make(), "filter_norm", 0.8, example=torch.randn(2, *shape))
    kept = {layer.name: layer.kept / layer.units for layer in report.layers}
    assert all(kept[f"blocks.{block}.linear1"] < 1 for block in (0, 1))


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_the_same_weights(name: str):
    make, _ = SMALL[name]
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(make().state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: WideResNet(12), "depth 6n"),
        (lambda: WideResNet(width=0), "widths of at least 1"),
        (lambda: MobileNetV2(halvings=6), "0 to 5 halvings"),
        (lambda: ViT(30, 4), "divides the image"),
        (lambda: ViT()(torch.zeros(1, 3, 8, 8)), "32 x 32 pixels and got 8 x 8"),
        (lambda: LeNet5(8), "at least 16 pixels"),
        (lambda: LeNet5()(torch.zeros(1, 1, 32, 32)), "pass size=32"),
    ],
)
def test_bad_sizes_are_refused(make, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        make()
