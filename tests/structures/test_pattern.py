"""Patterns: n of every m weights along the inputs of linear and convolutional layers."""

import pytest
import torch
from nets import NETS
from torch import nn

from lightning_prune import LayerFilter, Method, prune
from lightning_prune.allocations import Fixed, Patterned, Threshold
from lightning_prune.criteria import Magnitude, Random
from lightning_prune.network.layers import find_layers
from lightning_prune.structures import Pattern, Weights

LAYERS = {
    "linear": lambda: nn.Linear(24, 5),
    "conv1d": lambda: nn.Conv1d(24, 5, 3),
    "conv2d": lambda: nn.Conv2d(24, 5, (3, 2)),
    "conv3d": lambda: nn.Conv3d(12, 2, 2),
    "grouped": lambda: nn.Conv2d(48, 4, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(24, 5, 2),
    "grouped transposed": lambda: nn.ConvTranspose2d(48, 4, 2, groups=2),
}


def blocks_of(layer, m):
    """Every block by plain loops over outputs, places of the kernel and inputs."""
    weight = layer.weight.movedim((layer.out_dim, layer.in_dim), (0, 1))
    for output in weight.unbind(0):
        for place in output.reshape(len(output), -1).unbind(1):
            yield from place.split(m)


@pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(1, 4), Pattern(1, 2), Pattern(5, 12)])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_block_has_exactly_n_and_they_are_the_largest(kind, pattern):
    model = nn.Sequential(LAYERS[kind]())
    before = [block.abs() for block in blocks_of(find_layers(model)[0], pattern.m)]
    before = [block.clone() for block in before]
    weights = model[0].weight.numel()
    report = prune(model, Method(Magnitude(), pattern, Patterned()), 1.0)
    after = list(blocks_of(find_layers(model)[0], pattern.m))
    assert len(after) == weights // pattern.m
    for block, old in zip(after, before, strict=True):
        assert int(block.count_nonzero()) == pattern.n
        assert torch.equal(block.abs().sort().values[-pattern.n :], old.sort().values[-pattern.n :])
    assert report.layers[0].nonzero == weights * pattern.n // pattern.m
    assert report.left == report.nonzero == weights * pattern.n // pattern.m + len(model[0].bias)


def test_a_small_layer_by_hand():
    """The layout of sparse kernels: two of four neighbours in a row of the matrix."""
    model = nn.Sequential(nn.Linear(8, 2, bias=False))
    model[0].weight.data = torch.tensor(
        [[0.1, -0.2, 0.3, -0.4, 5.0, 5.0, 5.0, 5.0], [9.0, 8.0, 7.0, 6.0, 0.0, 0.1, 0.0, -0.2]]
    )
    prune(model, "pattern_2_4", 1.0)
    assert torch.equal(
        model[0].weight,
        torch.tensor(
            [[0.0, 0.0, 0.3, -0.4, 5.0, 5.0, 0.0, 0.0], [9.0, 8.0, 0.0, 0.0, 0.0, 0.1, 0.0, -0.2]]
        ),
    )


def test_a_convolution_is_a_channels_last_matrix():
    model = nn.Sequential(nn.Conv2d(8, 6, 3))
    prune(model, "pattern_2_4", 1.0)
    matrix = model[0].weight.permute(0, 2, 3, 1).reshape(6, 9 * 8)
    assert (matrix.view(-1, 4).count_nonzero(1) == 2).all()


def test_blocks_and_entries_are_inverse():
    for layer in find_layers(nn.ModuleList(make() for make in LAYERS.values())):
        values = torch.arange(layer.weight.numel())
        pattern = Pattern(1, 4)
        blocks = pattern.blocks(layer, values)
        assert blocks.shape == (len(values) // 4, 4)
        assert torch.equal(pattern.entries(layer, blocks), values)


def test_what_does_not_divide_stays_dense_and_is_named():
    model = NETS["depthwise"]()
    model.append(nn.Linear(2, 4))
    model.append(nn.Linear(4, 2))
    report = prune(model, "pattern_2_4", 1.0)
    changed = [name for name, p in model.named_parameters() if bool((p == 0).any())]
    sizes = {"0": 3, "2": 1, "5": 10, "7": 1, "9": 22, "12": 2}
    named = [note for note in report.notes if "no multiple" in note]
    assert named == [
        f"{name} keeps its units: its {size} inputs are no multiple of 4"
        for name, size in sizes.items()
    ]
    assert [name for name in changed if name.endswith("weight")] == ["11.weight", "13.weight"]


def test_no_layer_that_divides_is_said_so():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1))
    why = r"blocks of 4 inputs \(0: its 3 .*; 1: its 6 .*\); choose another m"
    with pytest.raises(ValueError, match=why):
        prune(model, "pattern_2_4", 1.0)


def test_keep_is_an_upper_bound():
    """Of 64 + 4 parameters 32 + 4 stay, which is 0.5295 rounded up."""
    model = nn.Sequential(nn.Linear(16, 4))
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=r"smallest reachable keep is 0\.5295"):
        prune(model, "pattern_2_4", 0.5)
    assert torch.equal(model[0].weight, before)
    assert prune(model, "pattern_2_4", 0.53).left == 36


def test_multiply_adds_are_counted_at_their_positions():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(36, 2))
    report = prune(model, "pattern_2_4", 1.0, measure="macs", example=torch.randn(2, 4, 5, 5))
    assert (report.dense, report.left) == (144 * 9 + 72, 72 * 9 + 36)
    assert report.left == report.macs_effective


def test_any_criterion_scores_a_pattern():
    model = nn.Sequential(nn.Linear(16, 8))
    report = prune(model, Method(Random(), Pattern(1, 4), Patterned()), 1.0)
    assert report.layers[0].nonzero == 32
    assert (model[0].weight.view(-1, 4).count_nonzero(1) == 1).all()


def test_layers_can_be_chosen():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    prune(model, "pattern_2_4", 1.0, layers=LayerFilter(exclude="1"))
    assert [int(layer.weight.count_nonzero()) for layer in model] == [32, 16]


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (1.5, 4), (2, 4.5), (-1, 2)])
def test_numbers_that_make_no_pattern(n, m):
    with pytest.raises(ValueError, match="whole numbers with 0 < n < m"):
        Pattern(n, m)


def test_a_pattern_goes_with_its_allocation_only():
    for allocation in (Threshold(), Fixed(threshold=0.1)):
        with pytest.raises(ValueError, match="needs the allocation Patterned"):
            Method(Magnitude(), Pattern(), allocation)
    with pytest.raises(ValueError, match="Patterned is defined for Pattern structures"):
        Method(Magnitude(), Weights(), Patterned())
