"""Projective clustering: what it costs by hand, what it never does, and the layers it makes."""

import copy

import pytest
import torch
from torch import nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Uniform
from lightning_prune.criteria import Magnitude
from lightning_prune.lowrank import Folding, balanced, compose, factors_of, folding_of
from lightning_prune.lowrank.clustered import (
    ClusteredFactors,
    ClusteredFolding,
    clustered_from,
    factorise_clusters,
)
from lightning_prune.lowrank.clustering import cluster
from lightning_prune.network.network import Network
from lightning_prune.structures.clusters import Clusters

TOY = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def random_points(count=60, size=12):
    scales = (1 + torch.arange(size)) ** -0.6
    return torch.randn(count, size, generator=drawn(1)) * scales


def written(module, rank, **arguments):
    """The structure and the layer's group, with so many units written."""
    structure = Clusters(**arguments)
    network = Network(nn.Sequential(module))
    (group,) = structure.groups(network.layers, network.graph)
    structure.write(group, (torch.arange(group.size) < rank).float())
    return structure, group


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 1, 3], [3, 0, 1, 2]])
def test_points_on_two_axes(order):
    """Nothing is lost whatever the order; one line for all costs 5, the energy along it is 10."""
    found = cluster(TOY[order], 2, 1, drawn(0))
    assert found.cost == pytest.approx(0, abs=1e-12)
    owners = {place: int(found.owner[order.index(place)]) for place in range(4)}
    assert owners[0] == owners[1] != owners[2] == owners[3]
    assert cluster(TOY, 1, 1).cost == pytest.approx(5)


def test_one_cluster_is_a_singular_value_decomposition():
    points = random_points()
    values = torch.linalg.svdvals(points.double())
    found = cluster(points, 1, 4)
    assert found.cost == pytest.approx(float(values[4:].square().sum()))
    assert found.owner.unique().tolist() == [0]


@pytest.mark.parametrize("rank", [1, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_the_cost_never_rises(rank, seed):
    """Neither by an assignment nor by a fit, and it is what the factors lose."""
    points = random_points()
    found = cluster(points, 4, rank, drawn(seed), restarts=2)
    history = torch.tensor(found.history, dtype=torch.float64)
    assert (history.diff() <= 1e-9 * history[0]).all()
    weight = points.T.double()
    folding = ClusteredFolding((12, 60), slices=4, owner=found.owner)
    lost = weight - folding.compose(*balanced(weight, folding, range(rank)))
    assert float(lost.square().sum()) == pytest.approx(found.cost)


def test_no_worse_than_slices_or_fewer_starts():
    """Blocks of columns are one of the starts, and further starts are only more to choose from."""
    points = random_points()
    blocks = torch.arange(60) // 20
    sliced = sum(
        float(torch.linalg.svdvals(points[blocks == place].double())[3:].square().sum())
        for place in range(3)
    )
    costs = [cluster(points, 3, 3, drawn(0), restarts).cost for restarts in (1, 2, 5)]
    assert sliced >= costs[0] >= costs[1] >= costs[2]


def test_small_clusters_take_the_worst_fitted_points():
    """Almost all points lie on one line: the others are filled up, and fit their points."""
    points = torch.zeros(10, 4)
    points[:, 0] = 1 + torch.arange(10)
    points[8:, 1:3] = torch.eye(2)
    found = cluster(points, 3, 2, drawn(0))
    assert torch.bincount(found.owner, minlength=3).min() >= 2
    assert found.cost == pytest.approx(0, abs=1e-10)
    zeros = cluster(torch.zeros(9, 4), 3, 2, drawn(0))
    assert zeros.cost == 0
    assert zeros.bases.isfinite().all()


def test_a_seed_decides_and_no_global_stream_moves():
    before = torch.get_rng_state()
    first, second = (cluster(random_points(), 3, 2, drawn(7)) for _ in range(2))
    assert torch.equal(first.owner, second.owner)
    assert first.history == second.history
    assert torch.equal(torch.get_rng_state(), before)


def test_refused_points():
    with pytest.raises(ValueError, match="do not make 3 clusters"):
        cluster(TOY, 3, 2)
    with pytest.raises(ValueError, match="NaN"):
        cluster(TOY * torch.nan, 2, 1)


def test_the_weight_is_each_columns_subspace():
    """Column p is the decoder of its cluster times its own column of the encoder."""
    layer = nn.Conv2d(4, 6, 3)
    before = layer.weight.detach().clone()
    written(layer, 2)
    encoder, decoder = factors_of(layer)
    assert encoder.shape == (2, 36)
    assert decoder.shape == (6, 3 * 2, 1, 1)
    owner = layer.parametrizations.weight[0].owner
    decoder = decoder.flatten(1)
    columns = [decoder[:, 2 * o : 2 * o + 2] @ encoder[:, p] for p, o in enumerate(owner.tolist())]
    assert torch.allclose(layer.weight.flatten(1), torch.stack(columns, 1), atol=1e-6)
    for place in range(3):
        part = before.flatten(1)[:, owner == place].double()
        kept = layer.weight.detach().flatten(1)[:, owner == place].double()
        tail = torch.linalg.svdvals(part)[2:].square().sum()
        assert torch.allclose((part - kept).square().sum(), tail, rtol=1e-4)


def test_factors_are_balanced_and_every_entry_trains():
    layer = nn.Linear(30, 8)
    written(layer, 2)
    encoder, decoder = factors_of(layer)
    spread = folding_of(layer).spread(encoder)
    assert torch.equal((spread != 0).sum(0), torch.full((30,), 2))
    assert torch.allclose(spread.norm(dim=1), decoder.norm(dim=0), rtol=1e-4)
    assert torch.allclose(decoder @ spread, layer.weight)
    layer(torch.rand(5, 30)).square().sum().backward()
    assert (encoder.grad != 0).all()
    assert (decoder.grad != 0).all()


@pytest.mark.parametrize(("columns", "rows"), [(12, 8), (13, 8), (40, 4), (2, 5)])
def test_costs(columns, rows):
    """j (k f + n) parameters, all units cost the dense weight, and what is stored is counted."""
    layer = nn.Linear(columns, rows, bias=False)
    network = Network(nn.Sequential(layer), None, lambda: layer(torch.rand(7, columns)), 7)
    network.graph()
    structure = Clusters()
    (group,) = structure.groups(network.layers, network.graph)
    costs = structure.costs(group, "params")
    assert costs[-1] == columns * rows
    assert len(costs) == group.size + 1
    assert costs == sorted(costs)
    assert all(c == min(columns * rows, j * (3 * rows + columns)) for j, c in enumerate(costs))
    for rank in range(group.size):
        one = nn.Linear(columns, rows, bias=False)
        written(one, rank)
        stored = sum(parameter.numel() for parameter in one.parameters())
        assert min(stored, columns * rows) == costs[rank]
        assert one(torch.rand(2, columns)).isfinite().all()


def test_a_whole_layer_stays_as_it_is_and_restoring_is_plain():
    layer = nn.Conv2d(3, 5, 3)
    names, before = list(layer.state_dict()), layer.weight.detach().clone()
    structure, group = written(layer, 5)
    assert folding_of(layer) is None
    assert torch.equal(layer.weight, before)
    structure.write(group, torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]))
    kept = layer.weight.detach().clone()
    assert isinstance(layer.parametrizations.weight[0], ClusteredFactors)
    structure.restore(group.layers[0])
    assert list(layer.state_dict()) == names
    assert torch.equal(layer.weight, kept)
    assert structure.units(group.layers[0], layer.weight).shape == (5, 1)


def test_a_state_is_loaded_without_any_clustering():
    """Shapes of the state make the form; the owners come with it."""
    layer = nn.Conv2d(4, 6, 3)
    written(layer, 2)
    state = layer.state_dict()
    key = "parametrizations.weight."
    assert {key + "original0", key + "original1", key + "0.owner"} < set(state)
    fresh = nn.Conv2d(4, 6, 3)
    sent = (state[key + name] for name in ("original0", "original1", "0.owner"))
    encoder, decoder, owner = (torch.zeros_like(tensor) for tensor in sent)
    folding = clustered_from(fresh, encoder, decoder, owner)
    factorise_clusters(fresh, folding, encoder, decoder)
    fresh.load_state_dict(state)
    inputs = torch.rand(2, 4, 6, 6)
    assert torch.equal(fresh(inputs), layer(inputs))
    assert torch.equal(copy.deepcopy(layer)(inputs), layer(inputs))


def test_another_weight_gets_the_best_factors_of_the_same_clusters():
    layer = nn.Linear(20, 6)
    written(layer, 2)
    owner = layer.parametrizations.weight[0].owner.clone()
    weight = torch.randn(6, 20)
    with torch.no_grad():
        layer.weight = weight
    encoder, decoder = balanced(weight, folding_of(layer), range(2))
    assert torch.allclose(factors_of(layer)[0], encoder)
    assert torch.allclose(factors_of(layer)[1], decoder)
    assert torch.equal(layer.parametrizations.weight[0].owner, owner)


def test_two_plain_layers_compute_the_same():
    """The encoder spread out, one in three entries not zero, and the decoder as it is."""
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    written(layer, 2)
    folding, (encoder, decoder) = folding_of(layer), factors_of(layer)
    spread = folding.spread(encoder)
    assert spread.shape == Folding(folding.shape).encoder_shape(6)
    assert int(spread.count_nonzero()) == encoder.numel() == folding.params(2) - decoder.numel()
    inputs = torch.rand(2, 4, 7, 7)
    inner = nn.functional.conv2d(inputs, spread, stride=2, padding=1)
    outputs = nn.functional.conv2d(inner, decoder, layer.bias)
    assert torch.allclose(outputs, layer(inputs), atol=1e-6)


def test_foldings_take_apart_and_put_together():
    owner = torch.tensor([0, 2, 1, 2, 0])
    folding = ClusteredFolding((4, 5), slices=3, owner=owner)
    weight = torch.randn(4, 5)
    assert torch.equal(folding.weight(folding.matrices(weight)), weight)
    encoder, decoder = torch.randn(2, 5), torch.randn(4, 6)
    assert torch.equal(folding.encoder(folding.right(encoder)), encoder)
    assert torch.equal(folding.decoder(folding.left(decoder)), decoder)
    assert folding.macs(2, 7, None) == 7 * folding.params(2) == 7 * (10 + 24)


def test_frozen_weights_and_half_precision_stay_so():
    layer = nn.Linear(20, 6).bfloat16()
    layer.weight.requires_grad_(False)
    found = cluster(layer.weight.T, 2, 2)
    folding = ClusteredFolding((6, 20), slices=2, owner=found.owner)
    factorise_clusters(layer, folding, *balanced(layer.weight, folding, range(2)))
    assert all(f.dtype == torch.bfloat16 and not f.requires_grad for f in factors_of(layer))
    compose(layer)
    assert layer.weight.dtype == torch.bfloat16
    assert not layer.weight.requires_grad


def test_factors_of_another_layer_are_refused():
    owner = torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match="6 owners do not fit the 5 columns"):
        clustered_from(nn.Linear(5, 4), torch.zeros(2, 5), torch.zeros(4, 4), owner)
    with pytest.raises(ValueError, match="do not make a weight"):
        clustered_from(nn.Linear(6, 4), torch.zeros(2, 6), torch.zeros(4, 5), owner)
    folding = ClusteredFolding((4, 6), slices=2, owner=owner)
    with pytest.raises(ValueError, match="do not make a weight"):
        factorise_clusters(nn.Linear(6, 4), folding, torch.zeros(2, 5), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="one matrix"):
        ClusteredFolding((4, 6), 2, owner=owner)
    with pytest.raises(ValueError, match="at least one cluster"):
        Clusters(0)


def test_end_to_end():
    """The same share of every layer's units within the budget, twice; grouped layers are named."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Flatten(),
        nn.Linear(128, 16),
    )
    example = torch.rand(2, 3, 6, 6)
    for keep in (0.7, 0.45):
        method = Method(Magnitude(), Clusters(), Uniform())
        report = prune(net, method, keep, example=example)
        stored = sum(parameter.numel() for parameter in net.parameters())
        assert report.left == stored <= report.budget
        assert any("2 groups are several matrices" in note for note in report.notes)
        net(example).square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
