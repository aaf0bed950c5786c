"""PCA by hand, and that what it leaves out is what the reconstruction loses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold, Uniform
from lightning_prune.criteria.pca import PCA
from lightning_prune.lowrank import factors_of, folding_of
from lightning_prune.network.network import Network
from lightning_prune.structures.ranks import Ranks

INPUTS = torch.tensor(
    [
        [0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0],
        [0.0, 2.0, 0.0],
        [0.0, 0.0, 1.0],
        [1.0, 1.0, 1.0],
        [2.0, 0.0, 1.0],
        [0.0, 1.0, 3.0],
        [1.0, 3.0, 0.0],
    ]
)


def linear():
    net = nn.Linear(3, 3)
    net.weight.data = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [1.0, 1.0, 2.0]])
    net.bias.data = torch.tensor([1.0, -2.0, 0.5])
    return net


def watched(net, *batches):
    """(criterion, layer, group), with the layer traced."""
    network = Network(net, None, lambda: net(batches[0]), len(batches[0]))
    network.graph()
    (layer,) = network.layers
    criterion = PCA()
    criterion.reset()
    for batch in batches:
        criterion.observe(layer, batch)
    (group,) = Ranks().groups(network.layers, network.graph)
    return criterion, layer, group


def cut(net, *batches, keep):
    """The directions, with the first `keep` of them written."""
    criterion, _, group = watched(net, *batches)
    (structure,) = criterion.variants(group, Ranks())
    structure.write(group, (torch.arange(group.size) < keep).float())
    return structure


@torch.no_grad()
def lost(net, inputs, before):
    """Sum of the squared errors of all responses."""
    return float((net(inputs) - before).square().sum())


def test_closed_form():
    """Eigenvalues 60.592412, 13.157588 and 0; one rank costs 6 multiply-adds."""
    net = linear()
    criterion, layer, group = watched(net, INPUTS)
    (structure,) = criterion.variants(group, Ranks())
    energies = structure.energies[layer.name][0]
    assert energies.tolist() == pytest.approx([60.592412, 13.157588, 0.0], abs=1e-5)
    assert energies[2] == 0
    mean = structure.means[layer.name][0] + net.bias.detach()
    assert mean.tolist() == pytest.approx([3.125, -1.125, 3.5])
    scores = 6 * criterion.score(layer, structure)
    assert scores.tolist() == pytest.approx([1.0, 0.178408, 0.0], abs=1e-6)
    assert torch.equal(criterion.score(layer, Ranks()), criterion.score(layer, structure))


@pytest.mark.parametrize(
    ("keep", "bias", "error"),
    [(1, [0.613472, -1.296675, 0.816798], 13.157588), (2, [1.0, -2.0, 0.5], 0.0)],
)
def test_bias_and_error_of_the_closed_form(keep, bias, error):
    net = linear()
    before = net(INPUTS).detach()
    cut(net, INPUTS, keep=keep)
    assert net.bias.tolist() == pytest.approx(bias, abs=2e-6)
    assert lost(net, INPUTS, before) == pytest.approx(error, abs=1e-5)


def test_diagonal_covariance():
    """Covariance diag(9, 1) around (2, 1): the first direction stays, the second's mean too."""
    net = nn.Linear(2, 2)
    net.weight.data, net.bias.data = torch.eye(2), torch.zeros(2)
    inputs = torch.tensor([[5.0, 2.0], [5.0, 0.0], [-1.0, 2.0], [-1.0, 0.0]])
    criterion, layer, _ = watched(net, inputs)
    assert (4 * criterion.score(layer, Ranks())).tolist() == pytest.approx([1, 0.1])
    cut(net, inputs, keep=1)
    assert net.bias.tolist() == pytest.approx([0, 1], abs=1e-6)
    assert torch.allclose(net.weight, torch.diag(torch.tensor([1.0, 0.0])), atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("keep", [1, 2])
def test_the_error_is_the_energy_that_is_dropped(bias, groups, keep):
    """Exactly the sum of the dropped eigenvalues, with a mean that is not 0, in any case."""
    net = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=groups, bias=bias).double()
    inputs = torch.rand(5, 6, 7, 7, dtype=torch.float64) + 1
    before = net(inputs).detach()
    structure = cut(net, inputs, keep=keep)
    (energies,) = structure.energies.values()
    dropped = float(energies[:, keep:].sum())
    assert lost(net, inputs, before) == pytest.approx(dropped, rel=1e-9)
    assert (net.bias is not None) == bias
    if bias:
        axes = (0, 2, 3)
        assert torch.allclose(net(inputs).mean(axes), before.mean(axes))


def test_no_other_factors_are_better():
    """Trained by hand from there, the reconstruction does not improve."""
    net = nn.Linear(5, 6).double()
    inputs = torch.randn(40, 5, dtype=torch.float64) + 1
    wanted = net(inputs).detach()
    cut(net, inputs, keep=2)
    loss = (net(inputs) - wanted).square().sum()
    loss.backward()
    assert all(parameter.grad.abs().max() < 1e-9 for parameter in net.parameters())


def test_either_factor_has_the_same_norm_along_a_direction():
    net = nn.Conv2d(4, 6, 3)
    cut(net, torch.rand(3, 4, 6, 6), keep=3)
    encoder, decoder = factors_of(net)
    assert torch.allclose(encoder.flatten(1).norm(dim=1), decoder.flatten(1).norm(dim=0), rtol=1e-4)


def test_batches_add_up_to_two_passes():
    """Sums over batches give the covariance of all responses, and no batch decides."""
    net = nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect")
    inputs = torch.randn(9, 3, 6, 6) + 2
    once, layer, _ = watched(net, inputs)
    thrice, _, _ = watched(net, *inputs.split(4))
    assert torch.allclose(once.seen[layer.name], thrice.seen[layer.name], rtol=1e-6)
    responses = net(inputs).detach().double().movedim(1, 0).flatten(1)
    centred = responses - responses.mean(1, keepdim=True)
    wanted = torch.linalg.eigvalsh(centred @ centred.T).flip(0)
    energies = thrice.directions(layer).energies[layer.name][0]
    assert torch.allclose(energies, wanted, rtol=1e-5)


def test_fewer_samples_than_filters():
    """Three samples vary along two directions; behind them the weight decides, and all of it fits.

    The first five directions span what a weight with five inputs can put out.
    """
    net = nn.Linear(5, 12)
    inputs = torch.randn(3, 5)
    before = net(inputs).detach()
    criterion, layer, group = watched(net, inputs)
    score = criterion.score(layer, Ranks())
    assert score.shape == (5,)
    assert (score > 0).tolist() == [True, True, False, False, False]
    assert not score.isnan().any()
    (structure,) = criterion.variants(group, Ranks())
    basis = structure.bases[layer.name][0]
    assert torch.allclose(basis.T @ basis, torch.eye(12, dtype=basis.dtype), atol=1e-10)
    images = basis.T @ net.weight.detach().double()
    assert images[5:].abs().max() < 1e-5
    assert images[2:5].norm(dim=1).diff().max() <= 1e-9
    cut(net, inputs, keep=2)
    assert torch.allclose(net(inputs), before, atol=1e-5)


def test_all_directions_written_compute_the_same():
    """A gain of 1 everywhere writes nothing; other gains scale the responses around their mean."""
    net = nn.Conv2d(2, 5, 3, bias=True)
    inputs = torch.rand(4, 2, 6, 6) + 1
    weight, bias = net.weight.detach().clone(), net.bias.detach().clone()
    cut(net, inputs, keep=5)
    assert folding_of(net) is None
    criterion, _, group = watched(net, inputs)
    (structure,) = criterion.variants(group, Ranks())
    before = net(inputs).detach()
    structure.write(group, torch.full((5,), 2.0))
    mean = before.mean((0, 2, 3), keepdim=True)
    assert torch.allclose(net(inputs), 2 * (before - mean) + mean, atol=1e-4)
    structure.restore(group.layers[0])
    assert folding_of(net) is None
    assert torch.allclose(net.weight, 2 * weight, atol=1e-5)
    assert not torch.allclose(net.bias, bias)


def test_units_are_coordinates_and_gains_multiply_them():
    net = nn.Conv2d(4, 6, 3, groups=2)
    criterion, layer, group = watched(net, torch.rand(4, 4, 6, 6))
    (structure,) = criterion.variants(group, Ranks())
    units = structure.units(layer, layer.weight)
    assert units.shape == (3, 2 * 18)
    gain = torch.tensor([2.0, 0.0, -0.5])
    structure.write(group, gain)
    assert torch.allclose(structure.units(layer, layer.weight), gain[:, None] * units, atol=1e-5)


def test_a_direction_without_weight_can_still_be_trained():
    net = nn.Linear(4, 4)
    net.weight.data[2:] = 0
    criterion, _, group = watched(net, torch.rand(9, 4))
    (structure,) = criterion.variants(group, Ranks())
    structure.write(group, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    encoder, decoder = factors_of(net)
    assert torch.allclose(decoder[:, 2].norm(), torch.tensor(1.0))
    net(torch.rand(2, 4)).sum().backward()
    assert encoder.grad.isfinite().all()
    assert encoder.grad[2].any()


def test_half_precision_is_summed_in_full():
    net = nn.Linear(6, 6).bfloat16()
    inputs = torch.randn(50, 6).bfloat16()
    criterion, layer, _ = watched(net, inputs)
    responses = F.linear(inputs.double(), net.weight.detach().double())
    wanted = responses.T @ responses
    assert torch.allclose(criterion.seen[layer.name][0, :-1, :-1], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("allocation", [Threshold(), Uniform()])
def test_end_to_end(allocation):
    """A net with every kind of layer, watched while it works, fits its budget and goes on."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 16),
        nn.ReLU(),
        nn.Linear(16, 10),
    )
    batches = [torch.rand(4, 3, 6, 6) for _ in range(3)]
    report = prune(net, Method(PCA(), Ranks(), allocation), 0.4, loader=batches, batches=3)
    stored = sum(parameter.numel() for parameter in net.parameters())
    assert report.left == stored <= report.budget
    assert any(folding_of(layer) for layer in net)
    net(batches[0]).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_beats_the_weights_own_directions_on_the_data():
    """Inputs that vary along few directions: the same ranks, chosen by responses, lose less."""
    net = nn.Linear(12, 12)
    inputs = torch.randn(60, 12) * 3.0 ** -torch.arange(12.0)
    before = net(inputs).detach()
    own = nn.Linear(12, 12)
    own.load_state_dict(net.state_dict())
    prune(net, Method(PCA(), Ranks(), Threshold()), 0.55, loader=[inputs])
    prune(own, "svd", 0.55)
    errors = [lost(layer, inputs, before) for layer in (net, own)]
    assert errors[0] < 0.1 * errors[1]


def test_refusals():
    with pytest.raises(ValueError, match="one slice and scheme 0"):
        prune(nn.Linear(4, 4), Method(PCA(), Ranks(2), Threshold()), 0.9, loader=[torch.rand(3, 4)])
    with pytest.raises(ValueError, match="NaN"):
        prune(
            nn.Linear(4, 4),
            Method(PCA(), Ranks(), Threshold()),
            0.9,
            loader=[torch.full((3, 4), torch.nan)],
        )
    network = Network(nn.Linear(3, 3))
    criterion = PCA()
    criterion.reset()
    criterion.observe(network.layers[0], torch.rand(5, 3))
    with pytest.raises(ValueError, match="not traced"):
        criterion.score(network.layers[0], Ranks())


def test_one_object_for_one_event():
    criterion, _, group = watched(nn.Linear(3, 3), torch.rand(5, 3))
    first, second = (criterion.variants(group, Ranks())[0] for _ in range(2))
    assert first != second
    assert first == first.variants(group)[0]
    assert len({first, second}) == 2
    assert "0x" not in repr(first)
    assert "tensor" not in repr(first)
