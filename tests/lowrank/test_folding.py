"""Folding: a weight as matrices and back, and what encoder and decoder cost."""

import itertools
import math

import pytest
import torch
from built import CONV, two_layers
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune.lowrank import Folding, divisors, nearest_divisor, schemes_of
from lightning_prune.network.network import Network

# shape of the weight, groups
SHAPES = [
    ((5, 6), 1),
    ((1, 7), 1),
    ((4, 6, 3), 1),
    ((4, 6, 3, 2), 1),
    ((3, 1, 2, 3), 1),
    ((1, 4, 3, 3), 1),
    ((4, 7, 1, 1), 1),
    ((6, 4, 3, 2), 3),
    ((4, 6, 2), 2),
    ((4, 2, 2, 3, 2), 1),
    ((4, 4, 2, 1, 3), 2),
]
FOLDINGS = [
    Folding(shape, groups, scheme, slices)
    for shape, groups in SHAPES
    for scheme in schemes_of(shape, range(4), alike=True)
    for slices in divisors(shape[1])
]
# of every shape the others are slow tests, for their number
ALL = pytest.mark.parametrize(
    "folding",
    [
        pytest.param(f, marks=[] if f.slices <= 2 else [pytest.mark.slow], id=str(f))
        for f in FOLDINGS
    ],
)


def named(shape):
    """Entries that say their place: 1000 f + 100 c + 10 a + b."""
    places = itertools.product(*map(range, shape))
    values = [sum(i * 10**p for i, p in zip(at, (3, 2, 1, 0), strict=True)) for at in places]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


# Worked out by hand. Columns are (channel, axes of the encoder), the channel the slowest.
FOLDED = {
    0: [[0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112]],
    1: [[0, 1, 2, 100, 101, 102], [10, 11, 12, 110, 111, 112]],
    2: [[0, 10, 100, 110], [1, 11, 101, 111], [2, 12, 102, 112]],
    3: [[0, 100], [1, 101], [2, 102], [10, 110], [11, 111], [12, 112]],
}


@pytest.mark.parametrize("scheme", FOLDED)
def test_rows_and_columns_by_hand(scheme):
    (matrix,) = Folding((2, 2, 2, 3), scheme=scheme).matrices(named((2, 2, 2, 3)))
    first = torch.tensor(FOLDED[scheme], dtype=torch.float64)
    assert torch.equal(matrix, torch.cat([first, first + 1000]))


@pytest.mark.parametrize(("scheme", "sizes"), [(1, (2, 3)), (2, (2, 2))])
def test_the_channel_as_the_fastest_column_is_a_permutation(scheme, sizes):
    """The order of the literature for spatial schemes, (kernel, channel), has the same spectrum."""
    (matrix,) = Folding((2, 2, 2, 3), scheme=scheme).matrices(named((2, 2, 2, 3)))
    order = torch.arange(math.prod(sizes)).reshape(sizes).T.flatten()
    wanted = {1: [0, 100, 1, 101, 2, 102], 2: [0, 100, 10, 110]}
    assert matrix[0, order].tolist() == wanted[scheme]


@pytest.mark.parametrize("scheme", range(4))
def test_slices_are_cut_along_channels_whatever_the_order_of_columns(scheme):
    weight = named((2, 6, 2, 3))
    parts = Folding(weight.shape, 1, scheme, 3).matrices(weight)
    alone = [Folding((2, 2, 2, 3), 1, scheme).matrices(w)[0] for w in weight.split(2, dim=1)]
    assert torch.equal(parts, torch.stack(alone))


@ALL
def test_folding_and_back_is_the_weight(folding):
    weight = torch.randn(folding.shape)
    matrices = folding.matrices(weight)
    assert matrices.shape == (
        folding.groups * folding.slices,
        folding.rows,
        folding.columns // folding.slices,
    )
    assert torch.equal(folding.weight(matrices), weight)
    assert torch.equal(folding.matrices(folding.weight(matrices)), matrices)


@ALL
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_factors_in_the_layout_of_layers_and_back(folding, rank):
    count = folding.groups * folding.slices
    left = torch.randn(count, folding.rows, rank)
    right = torch.randn(count, rank, folding.columns // folding.slices)
    encoder, decoder = folding.encoder(right), folding.decoder(left)
    assert encoder.shape == folding.encoder_shape(rank)
    assert decoder.shape == folding.decoder_shape(rank)
    assert torch.equal(folding.right(encoder), right)
    assert torch.equal(folding.left(decoder), left)
    assert torch.equal(folding.compose(encoder, decoder), folding.weight(left @ right))
    assert folding.params(rank) == encoder.numel() + decoder.numel()


@ALL
def test_two_layers_compute_what_the_composed_weight_does(folding):
    axes, rank = len(folding.shape) - 2, 2
    channels = folding.shape[1] * folding.groups
    if axes:
        layer = CONV[axes](channels, folding.shape[0], folding.shape[2:], 2, 1, 1, folding.groups)
        x = torch.randn(2, channels, *range(5, 5 + axes), dtype=torch.float64)
    else:
        layer = nn.Conv1d(channels, folding.shape[0], 1)
        x = torch.randn(2, channels, 1, dtype=torch.float64)
    layer.double()
    encoder = torch.randn(folding.encoder_shape(rank), dtype=torch.float64)
    decoder = torch.randn(folding.decoder_shape(rank), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(folding.compose(encoder, decoder).view(layer.weight.shape))
    torch.testing.assert_close(two_layers(layer, folding, encoder, decoder)(x), layer(x))


# 10 filters, 12 channels, 3 x 5, k = j = 2; input 11 x 13, output 6 x 9. By hand: the encoder has
# 2 * n entries at 6*9, 11*9, 6*13 or 11*13 places, the decoder 4 * m at 6*9; n m = 1800.
STRIDED = {0: (19440, 2160), 1: (11880, 6480), 2: (5616, 10800), 3: (3432, 32400)}


@pytest.mark.parametrize("scheme", STRIDED)
def test_multiply_adds_by_hand_and_counted_in_built_layers(scheme):
    layer = nn.Conv2d(12, 10, (3, 5), stride=(2, 1), padding=(1, 0))
    folding, x = Folding((10, 12, 3, 5), 1, scheme, 2), torch.randn(1, 12, 11, 13)
    assert folding.params(2) == {0: 400, 1: 240, 2: 272, 3: 624}[scheme]
    encoder = torch.randn(folding.encoder_shape(2))
    decoder = torch.randn(folding.decoder_shape(2))
    pair = two_layers(layer, folding, encoder, decoder)
    counted = []
    with torch.no_grad():
        for part in pair:
            with FlopCounterMode(display=False) as counter:
                x = part(x)
            counted.append(counter.get_total_flops() // 2)
    assert x.shape == (1, 10, 6, 9)
    assert tuple(counted) == STRIDED[scheme]
    maps = {
        (a, b): (6 if a else 11) * (9 if b else 13) for a in (True, False) for b in (True, False)
    }
    assert folding.macs(2, 54, maps) == sum(counted)
    # counted at the places of the output alone, every other scheme would look cheaper
    assert folding.macs(2, 54, None) == 54 * folding.params(2)
    assert (54 * folding.params(2) < sum(counted)) == (scheme != 0)


@ALL
def test_multiply_adds_of_a_traced_layer_are_those_of_two_built_layers(folding):
    axes, rank, batch = len(folding.shape) - 2, 2, 3
    channels = folding.shape[1] * folding.groups
    if not axes:
        layer, x = nn.Linear(channels, folding.shape[0]), torch.randn(batch, 3, channels)
    else:
        layer = CONV[axes](channels, folding.shape[0], folding.shape[2:], 2, 1, 1, folding.groups)
        x = torch.randn(batch, channels, *range(5, 5 + axes))
    model = nn.Sequential(layer)
    network = Network(model, None, lambda: model(x), batch)
    network.graph()
    (traced,) = network.layers
    pair = two_layers(
        layer,
        folding,
        torch.randn(folding.encoder_shape(rank)),
        torch.randn(folding.decoder_shape(rank)),
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        pair(x if axes else x.transpose(1, 2))
    counted = counter.get_total_flops() // 2
    assert folding.macs(rank, traced.positions, traced.maps) * batch == counted


def test_as_many_slices_as_channels_at_rank_1_are_a_depthwise_and_a_pointwise_layer():
    folding = Folding((10, 12, 3, 3), slices=12)
    assert folding.encoder_shape(1) == (12, 1, 3, 3)
    assert folding.decoder_shape(1) == (10, 12, 1, 1)
    assert folding.params(1) == 10 * 12 + 12 * 9


@pytest.mark.parametrize(
    ("channels", "found"),
    [(1, (1,)), (7, (1, 7)), (12, (1, 2, 3, 4, 6, 12)), (30, (1, 2, 3, 5, 6, 10, 15, 30))],
)
def test_divisors(channels, found):
    assert divisors(channels) == found


@pytest.mark.parametrize(
    ("channels", "wanted", "found"),
    # of two at the same distance the larger: 3 lies between 2 and 4
    [(64, 3, 4), (64, 5, 4), (64, 7, 8), (64, 9, 8), (48, 5, 6), (48, 7, 8), (3, 9, 3), (7, 3, 1)],
)
def test_the_nearest_number_of_slices_that_channels_allow(channels, wanted, found):
    assert nearest_divisor(channels, wanted) == found


@pytest.mark.parametrize(
    ("shape", "distinct"),
    [
        ((4, 3), [0]),
        ((4, 3, 5), [0, 3]),
        ((4, 3, 1), [0]),
        ((4, 3, 3, 3), [0, 1, 2, 3]),
        ((4, 3, 1, 5), [0, 2]),
        ((4, 3, 5, 1), [0, 1]),
        ((4, 3, 1, 1), [0]),
        ((4, 3, 2, 2, 2), [0, 3]),
    ],
)
def test_schemes_that_give_the_same_factors_are_tried_once(shape, distinct):
    assert schemes_of(shape, range(4)) == distinct


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 2, 2, 2)])
@pytest.mark.parametrize("scheme", [1, 2, 4, -1])
def test_a_scheme_that_a_kernel_does_not_have_is_refused(shape, scheme):
    with pytest.raises(ValueError, match=f"no folding scheme {scheme} for a kernel of"):
        Folding(shape, scheme=scheme)


@pytest.mark.parametrize("slices", [0, -2, 5, 12])
def test_slices_that_do_not_divide_the_channels_are_refused(slices):
    with pytest.raises(ValueError, match=f"6 channels have no {slices} slices of one size"):
        Folding((4, 6, 3, 3), slices=slices)
