"""Which filters can leave, and what becomes of the constants that they pass on."""

import pytest
import torch
from thin import random_state
from torch import nn

from lightning_prune import prune, thin
from lightning_prune.network.network import Network
from lightning_prune.thinning import Dead, Reference, shrink, thin_out


def zero_rows(layer, *rows):
    with torch.no_grad():
        layer.weight[list(rows)] = 0


def close(small, net, x):
    torch.testing.assert_close(small(x), net(x), rtol=1e-10, atol=1e-10)
    return True


def test_a_constant_behind_an_activation_goes_into_the_readers_bias():
    """sigma(b) W is what the unit added to every output."""
    net = random_state(nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)))
    zero_rows(net[0], 2)
    x = torch.randn(6, 4, dtype=torch.float64)
    small = thin(net, x)
    assert small[0].out_features == 4
    gained = net[2].bias + net[2].weight[:, 2] * net[0].bias[2].sigmoid()
    torch.testing.assert_close(small[2].bias, gained)
    assert close(small, net, x)


def test_a_constant_behind_a_norm_goes_into_a_convolution_without_padding():
    """c = relu(beta - mu gamma / sqrt(var + eps)); the reader gains its kernel's sum times c."""
    net = random_state(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3)
        )
    )
    norm = net[1]
    with torch.no_grad():
        norm.bias[1] = 1.5
    zero_rows(net[0], 1)
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    small = thin(net, x)
    scale = norm.weight[1] / (norm.running_var[1] + norm.eps).sqrt()
    value = (norm.bias[1] - norm.running_mean[1] * scale).relu()
    assert value > 0
    torch.testing.assert_close(small[3].bias, net[3].bias + net[3].weight[:, 1].sum((1, 2)) * value)
    assert close(small, net, x)


@pytest.mark.parametrize(
    ("reader", "why"),
    [
        (nn.Conv2d(4, 3, 3, padding=1), "which has zeros around its input"),
        (nn.Conv2d(4, 3, 3, bias=False), "which has no bias to hold it"),
    ],
)
def test_a_constant_that_no_bias_can_hold_keeps_its_filter(reader, why):
    net = random_state(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sigmoid(), reader))
    zero_rows(net[0], 0, 3)
    with pytest.raises(ValueError, match=rf"0: its constant is read by 2, {why}"):
        thin(net, torch.randn(2, 2, 8, 8, dtype=torch.float64))


def test_reflected_padding_has_the_constant_around_it():
    reader = nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect")
    net = random_state(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sigmoid(), reader))
    zero_rows(net[0], 0, 3)
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    small = thin(net, x)
    assert small[2].in_channels == 2
    assert close(small, net, x)


def test_what_nobody_reads_leaves_whatever_it_is():
    net = random_state(nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)))
    with torch.no_grad():
        net[2].weight[:, 1] = 0
    x = torch.randn(6, 4, dtype=torch.float64)
    small = thin(net, x)
    assert small[0].out_features == 4
    assert close(small, net, x)


def test_what_leaves_takes_along_what_lived_on_it():
    """The second layer's unit reads the first's dead one only, and is a constant therefore."""
    net = random_state(
        nn.Sequential(
            nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), nn.Sigmoid(), nn.Linear(6, 7), nn.Tanh(),
            nn.Linear(7, 2),
        )
    )  # fmt: skip
    zero_rows(net[0], 3)
    with torch.no_grad():
        net[2].weight[2] = 0
        net[2].weight[2, 3] = 1.0  # lives on the unit that leaves
        net[6].weight[:, 4] = 0  # nobody reads it
        net[4].weight[:, 5] = 0
        net[4].weight[4, 5] = 1.0  # whom only that one reads
    x = torch.randn(6, 4, dtype=torch.float64)
    small = thin(net, x)
    assert [small[i].out_features for i in (0, 2, 4)] == [4, 4, 6]
    assert close(small, net, x)


def test_rows_of_one_branch_are_not_the_whole_stream():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            x = self.stem(x)
            return self.head((x + self.branch(x)).relu())

    net = random_state(Residual())
    zero_rows(net.branch, 0, 1)
    x = torch.randn(6, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="branch: they are one unit with filters of stem that are"):
        thin(net, x)
    zero_rows(net.stem, 1)
    with torch.no_grad():
        net.branch.weight[:, 1] = 0
    with pytest.warns(UserWarning, match="branch keeps filters that are zero"):
        small = thin(net, x)
    assert small.stem.out_features == 5
    assert close(small, net, x)


def test_a_layer_is_never_emptied():
    net = random_state(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    zero_rows(net[0], *range(5))
    x = torch.randn(6, 4, dtype=torch.float64)
    small = thin(net, x)
    assert small[0].out_features == 1
    assert close(small, net, x)


def test_nothing_to_remove_is_said_with_the_reason():
    net, x = nn.Sequential(nn.Linear(40, 8), nn.ReLU(), nn.Linear(8, 30)), torch.randn(6, 40)
    with pytest.raises(ValueError, match="No filter of this Sequential is zero, so nothing can"):
        thin(net, x)
    prune(net, "magnitude", 0.5)
    with pytest.raises(ValueError, match="50% of its parameters are zero, one by one"):
        thin(net, x)
    with pytest.raises(ValueError, match="The example forward failed"):
        thin(net, torch.randn(6, 5))


def test_outputs_stay():
    net = random_state(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    zero_rows(net[2], 1)
    with pytest.raises(ValueError, match="2: they are the network's outputs"):
        thin(net, torch.randn(6, 4, dtype=torch.float64))


def test_a_model_that_cannot_be_copied_is_said_so():
    net = random_state(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    zero_rows(net[0], 1)
    net.kept = net[0].weight * 2  # a tensor of a graph
    x = torch.randn(6, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"cannot be copied .*inplace=True changes the model"):
        thin(net, x)
    expected = net(x)
    torch.testing.assert_close(thin(net, x, inplace=True)(x), expected, rtol=1e-10, atol=1e-10)


def test_the_proof_can_fail():
    """Units that matter are told to leave; nobody is to blame but the one who said so."""
    net = random_state(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    x = torch.randn(6, 4, dtype=torch.float64)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    network = Network(net, None, lambda: net(x), len(x))
    (group,) = network.graph().groups(network.layers)
    gone = torch.tensor([True, False, False, False, False])
    done = shrink(Dead({group: gone}), Reference(net, lambda: net(x)))
    assert list(done.refused) == [group]
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())


def test_forwards_of_a_type_of_their_own_are_compared_in_it():
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return torch.matmul(
                self.first(x).relu(), self.last.weight.float().T.contiguous().float()
            )

    net = Typed()
    with torch.no_grad():
        net.first.weight[1], net.first.bias[1], net.last.weight[:, 1] = 0, 0, 0
    done = thin_out(net, torch.randn(3, 4))
    assert done.model.first.out_features == 5
    assert not done.double
    assert done.error < 1e-4
