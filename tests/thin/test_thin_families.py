"""The smallest model of every family of torchvision: thin is masked, and all or nearly all leaves.

Families are read off the installed torchvision, so that a new one is seen.
"""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from thin import params, random_gains
from torch import nn

from lightning_prune.network.heads import attention_layers
from lightning_prune.network.network import Network
from lightning_prune.structures import Filters
from lightning_prune.thinning import thin_out

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
FAMILY = re.compile(r"(wide_)?[a-z]+(_v\d|_[xy](?=_))?")
AUXILIARY = {"init_weights": False, "aux_logits": True}

# the smallest model, its pixels, and which share of the masked units leaves; attention heads of
# Swin and MaxViT stay, for their forwards are written for as many channels as there were
FAMILIES = {
    "alexnet": ("alexnet", 64, 1.0),
    "convnext": ("convnext_tiny", 32, 1.0),
    "densenet": ("densenet121", 32, 1.0),
    "efficientnet": ("efficientnet_b0", 32, 1.0),
    "efficientnet_v2": ("efficientnet_v2_s", 32, 1.0),
    "googlenet": ("googlenet", 32, 1.0),
    "inception_v3": ("inception_v3", 75, 1.0),
    "maxvit": ("maxvit_t", 224, 0.9946),
    "mnasnet": ("mnasnet0_5", 32, 1.0),
    "mobilenet_v2": ("mobilenet_v2", 32, 1.0),
    "mobilenet_v3": ("mobilenet_v3_small", 32, 1.0),
    "regnet_x": ("regnet_x_400mf", 32, 1.0),
    "regnet_y": ("regnet_y_400mf", 32, 1.0),
    "resnet": ("resnet18", 32, 1.0),
    "resnext": ("resnext50_32x4d", 32, 1.0),
    "shufflenet_v2": ("shufflenet_v2_x0_5", 32, 1.0),
    "squeezenet": ("squeezenet1_1", 32, 1.0),
    "swin": ("swin_t", 32, 0.9915),
    "swin_v2": ("swin_v2_t", 32, 0.9940),
    "vgg": ("vgg11", 32, 1.0),
    "vit": ("vit_b_16", 32, 1.0),
    "wide_resnet": ("wide_resnet50_2", 32, 1.0),
}
OPTIONS = {"googlenet": AUXILIARY, "inception_v3": AUXILIARY, "vit": {"image_size": 32}}
ATTENTIONS = {
    "maxvit": r"blocks\.\d+\.layers\.\d+\.layers\.(window|grid)_attention\.attn_layer\.1\.to_qkv",
    "swin": r"features\.\d+\.\d+\.attn\.qkv",
    "swin_v2": r"features\.\d+\.\d+\.attn\.(qkv|cpb_mlp\.2)",
}


def families():
    """By family, its models in the installed torchvision."""
    found = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        found.setdefault(FAMILY.match(name)[0], []).append(name)
    return found


def lively(net):
    """Random weights behind which signals stay of one size, in float64."""
    draw = torch.Generator().manual_seed(0)
    net.double().eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=draw)
            else:  # scales of norms are around 1
                parameter.uniform_(-0.5, 0.5, generator=draw).add_(name.endswith("weight"))
    return net


def settle(net, x):
    """Let batch norms have the statistics of what they see, or little of the input goes through."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        net(x)
    net.eval()


def masked(family):
    """Without half of the units and heads of every group, and how many units that are."""
    name, pixels, _ = FAMILIES[family]
    options = {"num_classes": 10, **OPTIONS.get(family, {})}
    net = lively(torchvision.models.get_model(name, **options))
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, pixels, pixels, generator=draw, dtype=torch.float64)
    network = Network(net, None, lambda: net(x), 2)
    groups = network.graph().groups([*network.layers, *attention_layers(net)])
    gains = random_gains(groups, 0.5)
    for group, gain in gains.items():
        Filters().write(group, gain)
    settle(net, x)
    return net, x, sum(int((gain == 0).sum()) for gain in gains.values())


def difference(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(families()))
def test_thin_is_masked(family):
    if family not in FAMILIES:
        pytest.skip(
            f"torchvision {torchvision.__version__} has a new family {family!r} "
            f"({', '.join(families()[family])}): add its smallest model to FAMILIES"
        )
    net, x, units = masked(family)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = thin_out(net, x)
    small, share = done.model, FAMILIES[family][2]
    assert done.units / units == pytest.approx(share, abs=5e-5)
    assert params(small) < 0.85 * params(net)
    told = [str(warning.message) for warning in caught]
    assert (done.stays == {}) == (share == 1) == (told == [])
    for layer, why in done.stays.items():
        assert re.fullmatch(ATTENTIONS[family], layer)
        assert re.match(r"the forward of \S+ does not follow its width \(RuntimeError: shape", why)
        assert f"{layer} keeps filters that are zero: {why}" in told
    with torch.no_grad():
        for given in (x, torch.randn_like(x) * 2 + 0.5):
            expected = net(given)
            assert difference(small(given), expected) < 1e-10
            assert difference(expected[0], expected[1]) > 1e-4, "it depends on its input"


def test_the_table_has_the_smallest_model_of_every_family():
    sizes = {}
    for family, names in families().items():
        weights = [next(iter(torchvision.models.get_model_weights(name))) for name in names]
        counts = {n: w.meta["num_params"] for n, w in zip(names, weights, strict=True)}
        sizes[family] = min(counts, key=counts.get)
    known = {family: name for family, (name, *_) in FAMILIES.items()}
    assert {family: sizes.get(family) for family in known} == known
    assert sum(share == 1 for *_, share in FAMILIES.values()) == 19
