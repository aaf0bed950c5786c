"""SiPP: sensitivities that can be checked by hand, and what they promise."""

import pytest
import torch
from torch import Tensor, nn

from lightning_prune import Method, prune
from lightning_prune.allocations import Threshold, Uniform
from lightning_prune.criteria import Magnitude, SiPP
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Filters, Structure, Weights
from lightning_prune.testing import check_criterion


def linear(weight, bias=True):
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias)
    layer.weight.data = torch.tensor(weight)
    return layer


def seen(module, value, **options):
    """Sensitivities of the only layer of a module, in the weight's shape."""
    criterion = SiPP(**options)
    criterion.reset()
    (layer,) = find_layers(nn.Sequential(module))
    criterion.observe(layer, value)
    return criterion.seen[layer.name]


# rows (2 1 1) and (1 -3 2); inputs (1 1 2) and (1 3 0). The second row's positive weights sum to
# 1 + 4 and to 1 + 0; its only negative one is the whole of its sum.
WEIGHT = [[2.0, 1.0, 1.0], [1.0, -3.0, 2.0]]
DATA = torch.tensor([[1.0, 1.0, 2.0], [1.0, 3.0, 0.0]])
SHARES = torch.tensor([[0.4, 0.6, 0.4], [1.0, 1.0, 0.8]])


@pytest.mark.parametrize("patches", ["mean", "max"])
def test_shares_of_a_linear_layer(patches):
    assert torch.allclose(seen(linear(WEIGHT), DATA, patches=patches), SHARES, atol=1e-7)


def test_four_of_six_weights_and_the_error_that_was_promised():
    layer = linear(WEIGHT, bias=False)
    assert layer(DATA).tolist() == [[5, 2], [5, -8]]
    prune(layer, "sipp", 4 / 6, loader=[DATA])
    # of the shares .4 .6 .4 | 1 1 .8 the two smallest leave
    assert layer.weight.tolist() == [[0, 1, 0], [1, -3, 2]]
    assert layer(DATA).tolist() == [[1, 2], [3, -8]]
    # relative errors .8 and .4 of the first row; the promise is .4 + .4, attained by the first


def test_with_mixed_signs_no_weight_shares_its_sum():
    layer, value = linear([[1.0, -2.0, 3.0]]), torch.tensor([[1.0, 2.0, -1.0]])
    assert seen(layer, value).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(("patches", "wanted"), [("mean", [0.625, 0.375]), ("max", [1.0, 0.75])])
def test_shares_of_a_convolution(patches, wanted):
    """A filter (1 1) at the patches (1 3) and (3 0): shares (1/4 3/4) and (1 0)."""
    layer = nn.Conv2d(1, 1, (1, 2))
    nn.init.ones_(layer.weight)
    image = torch.tensor([[[[1.0, 3.0, 0.0]]]])
    assert torch.allclose(seen(layer, image, patches=patches).flatten(), torch.tensor(wanted))


@pytest.mark.parametrize("patches", ["mean", "max"])
def test_a_whole_kernel_has_the_sum_of_the_shares_of_its_positions(patches):
    """Two channels, a filter (1 1 | 2 0) at one patch (1 1 | 1 5): sums 2 + 2 = 4."""
    layer = nn.Conv1d(2, 1, 2)
    layer.weight.data = torch.tensor([[[1.0, 1.0], [2.0, 0.0]]])
    value = torch.tensor([[[1.0, 1.0], [1.0, 5.0]]])
    alone = seen(layer, value, patches=patches)
    joint = seen(layer, value, patches=patches, kernel="sum")
    assert alone.tolist() == [[[0.25, 0.25], [0.5, 0.0]]]
    assert joint.tolist() == [[[0.5, 0.5], [0.5, 0.5]]]


class Columns(Weights):
    """Input channels as units, whoever makes them."""

    def units(self, layer, tensor):
        return tensor.movedim(1, 0).flatten(1)


def test_channels_score_the_largest_of_what_reads_them():
    criterion = SiPP(patches="max")
    criterion.reset()
    (layer,) = find_layers(nn.Sequential(linear(WEIGHT)))
    criterion.observe(layer, DATA)
    scores = criterion.score(layer, Columns()).float()
    assert torch.allclose(scores, torch.tensor([1.0, 1.0, 0.8]))
    rows = criterion.score(layer, Filters()).float()
    assert torch.allclose(rows, torch.tensor([0.6, 1.0]))


def signed_case(conv=True):
    """A convolution with weights of both signs, and rectified images."""
    layer = nn.Conv2d(4, 6, 3, padding=1) if conv else nn.Linear(12, 6)
    value = torch.randn(3, 4, 7, 6) if conv else torch.randn(3, 12)
    return layer, value.clamp_min(0)


@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("factor", [3.0, 1e-12, 1e15])
def test_scaled_filters_samples_and_channels_change_nothing(patches, factor):
    layer, value = signed_case()
    first = seen(layer, value, patches=patches)
    magnitudes = layer.weight.detach().abs().clone()
    scale = factor ** torch.linspace(0, 1, 6)
    layer.weight.data *= scale.view(6, 1, 1, 1)
    value *= (factor ** torch.linspace(0, 1, 3)).view(3, 1, 1, 1)
    assert torch.allclose(seen(layer, value, patches=patches), first, atol=1e-6)
    if factor > 1e3:
        return  # the ranges of channels add up
    channels = (factor ** torch.linspace(-1, 1, 4)).clamp(1e-4, 1e4).view(1, 4, 1, 1)
    layer.weight.data /= channels
    assert torch.allclose(seen(layer, value * channels, patches=patches), first, atol=2e-6)
    assert not torch.allclose(layer.weight.abs(), magnitudes, rtol=0.5)


def test_rescaled_channels_keep_the_mask_and_change_that_of_magnitude():
    """Norm and rectifier pass a positive factor on, and the next layer takes it back."""
    kept = {}
    for factor in (1.0, 1e3):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))
        for each in (net[1].weight, net[1].bias):
            each.data[:3] *= factor
        net[3].weight.data[:, :3] /= factor
        images = torch.randn(4, 2, 8, 8)
        for name in ("sipp", "magnitude"):
            before = {k: v.clone() for k, v in net.state_dict().items()}
            prune(net, name, 0.4, loader=[images])
            kept[name, factor] = torch.cat([net[i].weight.flatten() != 0 for i in (0, 3)])
            net.load_state_dict(before)
    assert torch.equal(kept["sipp", 1.0], kept["sipp", 1e3])
    assert not torch.equal(kept["magnitude", 1.0], kept["magnitude", 1e3])


def row_sums(shares: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(2, rows) sums of the shares over positive and over negative weights, and their numbers."""
    halves = torch.stack([weight > 0, weight < 0]).flatten(2)
    return (halves * shares.flatten(1)).sum(-1), halves.sum(-1)


@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("conv", [True, False])
def test_the_shares_of_an_active_row_sum_to_between_one_and_its_size(conv, patches):
    layer, value = signed_case(conv)
    value = value + 0.01  # every row is active at every patch
    sums, sizes = row_sums(seen(layer, value, patches=patches), layer.weight.detach())
    assert (sums >= 1 - 1e-5).all()
    assert (sums <= sizes + 1e-5).all()


def test_with_the_mean_rows_sum_to_at_least_the_part_of_the_patches_where_they_are_active():
    layer, value = nn.Conv2d(1, 1, 1), torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 5)
    nn.init.ones_(layer.weight)
    assert seen(layer, value).item() == pytest.approx(2 / 5)
    assert seen(layer, value, patches="max").item() == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_left_out_changes_the_sums_by_no_more_than_its_shares(sign):
    """Nonnegative weights and activations: mean and maximum over patches, each by its own."""
    layer, value = nn.Conv2d(2, 3, 3, bias=False).double(), torch.rand(4, 2, 6, 6).double()
    layer.weight.data = sign * torch.rand_like(layer.weight)
    before = layer(value)
    shares = {patches: seen(layer, value, patches=patches) for patches in ("mean", "max")}
    gone = torch.rand_like(layer.weight) < 0.3
    layer.weight.data[gone] = 0
    error = (1 - layer(value) / before).abs().flatten(2)
    promised = {name: (share * gone).flatten(1).sum(1) for name, share in shares.items()}
    assert (error.mean(-1) <= promised["mean"] + 1e-12).all()
    assert (error.amax(-1) <= promised["max"] + 1e-12).all()
    assert (error.amax(-1) > promised["mean"]).any(), "the mean promises nothing for one patch"


def test_the_promise_is_kept_with_equality_where_one_sample_decides():
    layer, value = nn.Linear(5, 3, bias=False).double(), torch.rand(1, 5).double()
    layer.weight.data.abs_()
    before, shares = layer(value), seen(layer, value)
    layer.weight.data[:, 1:3] = 0
    error = 1 - layer(value) / before
    assert torch.allclose(error[0], shares[:, 1:3].sum(1), atol=1e-14)


def test_a_layer_is_not_emptied_before_others_of_its_fan_in():
    """The largest share of an active row of n weights is at least 1 / n, however small they are."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU())
    net[2].weight.data *= 1e-3
    data, scale = [torch.rand(16, 20)], Threshold(floor=0)
    counts = {}
    for criterion in (SiPP(), Magnitude()):
        before = {k: v.clone() for k, v in net.state_dict().items()}
        prune(net, Method(criterion, Weights(), scale), 0.2, loader=data)
        counts[type(criterion)] = int(net[2].weight.count_nonzero())
        net.load_state_dict(before)
    assert counts[Magnitude] == 0
    assert counts[SiPP] > 50


def test_nothing_but_what_a_layer_reads_decides():
    layer, value = signed_case()
    first = seen(layer, value)
    layer.bias.data.fill_(1e6)
    assert torch.equal(seen(layer, value), first)


@pytest.mark.parametrize("patches", ["mean", "max"])
def test_dead_inputs_and_dead_rows_have_no_share(patches):
    layer, value = signed_case()
    value[:, 1] = 0
    layer.weight.data[2] = 0
    layer.weight.data[3, 0] = 1e-42
    shares = seen(layer, value, patches=patches)
    assert shares.isfinite().all()
    assert not shares[:, 1].any()
    assert not shares[2].any()
    assert shares[0, 0].any()


@pytest.mark.parametrize("structure", [Weights(), Filters()], ids=repr)
@pytest.mark.parametrize("patches", ["mean", "max"])
@pytest.mark.parametrize("kernel", ["max", "sum"])
def test_contract(structure: Structure, patches, kernel):
    check_criterion(SiPP(patches=patches, kernel=kernel), structure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patches": "sum"}, "patches='mean' or 'max', not 'sum'"),
        ({"kernel": "mean"}, "kernel='max' or 'sum', not 'mean'"),
        ({"memory": 0}, "positive number of bytes, not memory=0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SiPP(**options)


def test_memory_is_no_part_of_what_a_checkpoint_recognises():
    assert repr(SiPP(memory=1)) == repr(SiPP())
    assert SiPP(memory=1) == SiPP()
    assert repr(SiPP("max")) != repr(SiPP())


def test_it_is_defined_for_parts_of_weights_only():
    class Elsewhere(Structure):
        groups = units = cost = write = None

    with pytest.raises(ValueError, match="SiPP is defined for Mask structures"):
        Method(SiPP(), Elsewhere(), Uniform())
