"""What a forward may do with channels between two layers: followed exactly, or refused."""

import pytest
import torch
import torch.nn.functional as F
from thin import check_selection
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_prune.network.graph import build_graph

IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Net(nn.Module):
    """`a` makes ten channels, whose way to the readers is what a test is about."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 10, 3), nn.Conv2d(10, 10, 3, padding=1)
        self.c, self.wide, self.gate = nn.Conv2d(10, 4, 1), nn.Conv2d(20, 4, 1), nn.Conv2d(10, 1, 1)
        self.line, self.scale = nn.Linear(10, 4), nn.Parameter(torch.ones(10))
        self.register_buffer("shift", torch.arange(10.0))
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def written_whole(net, x):
    made = net.a(x)
    memory = torch.empty_like(made)
    memory.copy_(made)
    return net.c(memory)


def scaled_by_a_sum(net, x):
    return torch.einsum("nchw,c,kc->nk", net.a(x), net.scale, net.line.weight)


def gradient(net, x):
    x = x.requires_grad_()
    out = net.c(torch.tanh(net.a(x)))
    return torch.autograd.grad(out.square().sum(), x, create_graph=True)[0]


FOLLOWED = {
    "pooled": lambda n, x: n.line(n.a(x).amax((2, 3))),
    "gated by one": lambda n, x: n.c(n.a(x) * n.gate(n.a(x)).sigmoid()),
    "concatenated with itself": lambda n, x: n.wide(torch.cat([n.a(x)] * 2, 1)),
    "concatenated with zeros": lambda n, x: n.wide(torch.cat([n.a(x), n.a(x) * 0], 1)),
    "tiled": lambda n, x: n.wide(n.a(x).repeat(1, 2, 1, 1)),
    "repeated": lambda n, x: n.wide(n.a(x).repeat_interleave(2, 1)),
    "mirrored": lambda n, x: n.c(n.a(x).flip(1)),
    "joined by maximum": lambda n, x: n.c(torch.maximum(n.a(x), n.b(n.a(x)))),
    "joined by stack": lambda n, x: n.c(torch.stack([n.a(x), n.b(n.a(x))]).amax(0)),
    "joined by where": lambda n, x: n.c(torch.where(n.a(x) > 0, n.a(x), n.b(n.a(x)))),
    "shifted by a buffer": lambda n, x: n.c(n.a(x) + n.shift.view(1, -1, 1, 1)),
    "rolled in space": lambda n, x: n.c(n.a(x).roll((1, -2), (2, -1))),
    "resampled": lambda n, x: n.c(F.interpolate(n.a(x), size=5, mode="bilinear")),
    "reflected": lambda n, x: n.c(F.pad(n.a(x), (1, 1, 1, 1), mode="reflect")),
    "whitened": lambda n, x: n.c(F.instance_norm(n.a(x))),
    "spread over space": lambda n, x: n.c(
        n.a(x).mean((2, 3))[..., None, None].expand(-1, -1, 3, 3)
    ),
    "last dimension": lambda n, x: n.line(n.a(x).permute(0, 2, 3, 1)),
    "summed by indices": lambda n, x: torch.einsum("nchw,kc->nkhw", n.a(x), n.line.weight),
    "scaled and summed": scaled_by_a_sum,
    "one sample at a time": lambda n, x: torch.stack([n.line(n.a(y).mean((1, 2))) for y in x]),
    "mapped": lambda n, x: torch.func.vmap(lambda y: n.c(n.a(y[None]))[0])(x),
    "checkpointed": lambda n, x: n.c(checkpoint(n.a, x, use_reentrant=False)),
    "used twice": lambda n, x: n.c(n.b(n.b(n.a(x)))),
    "without its graph": lambda n, x: n.c(n.a(x).detach()),
    "written whole": written_whole,
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_is_followed_equals_the_thin_network(name):
    groups = check_selection(lambda: Net(FOLLOWED[name]), IMAGES)
    assert {group.size for group in groups} == {10}


def written_in_parts(net, x):
    made = net.a(x)
    memory = made.new_zeros(2, 20, 7, 7)
    memory[:, :10] = made
    return net.wide(memory)


def written_behind_a_view(net, x):
    memory = torch.zeros(2, 20, 7, 7, dtype=x.dtype)
    front, view = memory[:, :10], memory.view(2, 20, 49)
    front.copy_(net.a(x))
    return net.wide(view.view(2, 20, 7, 7))


def written_one_by_one(net, x):
    made = net.a(x).mean((2, 3))
    memory = torch.empty(2, 10, dtype=x.dtype)
    for channel in range(10):
        memory[:, channel] = made[:, channel]
    return net.line(memory)


def changed_weight(net, x):
    weight = net.c.weight.clone()
    return F.conv2d(net.a(x), weight.add_(1))


def attended(net, x):
    tokens = net.a(x).flatten(2)
    return net.line(F.scaled_dot_product_attention(*[tokens.mT] * 3))


REFUSED = {
    "written in parts": (written_in_parts, "copy writes them into a larger tensor in place"),
    "written behind a view": (written_behind_a_view, "copy writes them into a larger tensor"),
    "written one by one": (written_one_by_one, "select takes them one by one"),
    "softmax": (lambda n, x: n.c(n.a(x).softmax(1)), "_softmax runs over them"),
    "cumulated": (lambda n, x: n.c(n.a(x).cumsum(1)), "cumsum runs over them"),
    "centred": (lambda n, x: n.c(n.a(x) - n.a(x).mean(1, keepdim=True)), "mean runs over them"),
    "rolled": (lambda n, x: n.c(n.a(x).roll(1, 1)), "roll runs over them"),
    "rolled flat": (lambda n, x: n.c(n.a(x).roll(1)), "the operator roll is not followed"),
    "shuffled": (
        lambda n, x: n.c(n.a(x).view(2, 2, 5, 7, 7).transpose(1, 2).reshape(2, 10, 7, 7)),
        "view splits them",
    ),
    "constant": (
        lambda n, x: n.c(n.a(x) * torch.arange(10.0, dtype=x.dtype).view(1, -1, 1, 1)),
        "mul mixes them with channels that no layer made",
    ),
    "products of activations": (
        lambda n, x: torch.bmm(n.a(x).flatten(2), n.a(x).flatten(2).mT),
        "they enter a product of two activations",
    ),
    "attended": (attended, "they enter a product of two activations"),
    "normalised": (lambda n, x: n.c(F.normalize(n.a(x))), "linalg_vector_norm runs over them"),
    "computed weight": (
        lambda n, x: F.conv2d(n.a(x), n.c.weight * 2),
        "their convolution's weight is computed in the forward",
    ),
    "changed weight": (changed_weight, "their convolution's weight is computed in the forward"),
    "part of a weight": (
        lambda n, x: F.conv2d(n.a(x)[:, :5], n.c.weight[:, :5]),
        "only a part of the weight is used at a time",
    ),
    "also an output": (lambda n, x: (n.c(n.a(x)), {"made": [n.a(x)]}), "the network's outputs"),
    "out of sight": (
        lambda n, x: n.c(torch.from_numpy(n.a(x).detach().numpy())),
        "no layer was seen to read them",
    ),
    "gradient of weights": (
        lambda n, x: torch.autograd.grad(n.c(n.a(x)).sum(), n.a.weight, create_graph=True),
        "a gradient of the weights is taken in the forward",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_followed_stays_with_a_reason(name):
    forward, reason = REFUSED[name]
    model = Net(forward).double().eval()
    graph = build_graph(model, lambda: model(IMAGES), 2)
    assert reason in graph.pinned["a"]


def test_a_gradient_of_the_input_is_followed():
    model = Net(gradient).double().eval()
    graph = build_graph(model, lambda: model(IMAGES.clone()), 2)
    assert "a" not in graph.pinned
    assert graph.positions["a"] == 2 * 49
    assert graph.calls["a"] == 1
