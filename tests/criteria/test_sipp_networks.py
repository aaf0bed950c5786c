"""SiPP on whole networks: images, depthwise, attention, continuous depth; any order of the data."""

import pytest
import torch
from torch import nn

from lightning_prune import prune
from lightning_prune.criteria import SiPP
from lightning_prune.models import ResNet
from lightning_prune.network.network import Network
from lightning_prune.prune import watch

pytestmark = pytest.mark.filterwarnings("ignore:Setting tolerances has no effect on fixed-step")


class Attention(nn.Module):
    """One block with separate projections."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.out, self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        mixed = torch.softmax(self.query(x) @ self.key(x).mT, -1) @ self.value(x)
        x = x + self.out(mixed)
        return x + self.down(nn.functional.gelu(self.up(x)))


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1),
    )  # fmt: skip


class Flow(nn.Module):
    """A neural ODE, or a continuous normalizing flow, by the adjoint method."""

    def __init__(self, density):
        super().__init__()
        from torchdyn.core import NeuralODE
        from torchdyn.models import CNF

        field = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
        self.density = density
        vector = CNF(field) if density else field
        self.flow = NeuralODE(vector, solver="rk4", sensitivity="adjoint", return_t_eval=False)
        self.register_buffer("span", torch.linspace(0, 1, 3))

    def forward(self, x):
        if self.density:
            x = torch.cat([torch.zeros(len(x), 1), x], 1)
        return self.flow(x, self.span)[-1]


NETS = {
    "resnet20": (lambda: ResNet(20, widths=(4, 8, 16)), (3, 8, 8)),
    "depthwise": (depthwise, (3, 8, 8)),
    "attention": (Attention, (5, 8)),
    "ode": (lambda: Flow(False), (3,)),
    "cnf": (lambda: Flow(True), (3,)),
}


def observed(net, batches):
    criterion = SiPP()
    watch(Network(net), criterion, batches, lambda batch, _: net(batch))
    return criterion.seen


@pytest.mark.parametrize("name", NETS)
def test_it_prunes_to_the_weight_and_any_batches_tell_the_same(name):
    make, shape = NETS[name]
    net, data = make(), torch.randn(12, *shape)
    whole = observed(net, [data])
    for batches in (data.split(5), data.flip(0).split(4)):
        found = observed(net, batches)
        for key, seen in whole.items():
            assert (seen >= 0).all()
            assert (seen <= 1 + 1e-5).all()
            # the roundoff of the network's own activations
            assert torch.allclose(found[key], seen, atol=1e-5), key
    dense = sum(p.numel() for p in net.parameters())
    prune(net, "sipp", 0.6, loader=data.split(5), example=data[:2])
    assert sum(int(p.count_nonzero()) for p in net.parameters()) <= int(0.6 * dense)


def test_other_data_tell_something_else():
    net = depthwise().eval()
    one, other = (observed(net, [torch.randn(4, 3, 8, 8) + shift]) for shift in (0, 3))
    assert any(not torch.allclose(one[key], other[key], atol=1e-2) for key in one)


def test_every_use_of_a_layer_counts():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    layer.weight.data += 1.0
    net = nn.Sequential(layer, layer)
    value = torch.tensor([[1.0, 0.0]])
    seen = observed(net, [value])["0"]
    criterion = SiPP()
    criterion.reset()
    network = Network(net)
    for each in (value, layer(value).detach()):
        criterion.observe(network.layers[0], each)
    assert torch.equal(seen, criterion.seen["0"])
