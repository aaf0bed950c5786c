"""Rounding: units leave in blocks, so that widths are multiples of a number, or what they were."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch
from reference import OneByOne, every_prefix, select
from torch import nn

from lightning_prune import Method, prune, thin
from lightning_prune.allocations import (
    EqualError,
    Fixed,
    OverBudgetError,
    Threshold,
    Uniform,
)
from lightning_prune.criteria import Magnitude
from lightning_prune.criteria.sipp import SiPP
from lightning_prune.models import VGG, ResNet
from lightning_prune.network.network import Network
from lightning_prune.structures import Channels, Filters


@dataclass(frozen=True)
class Rounded(OneByOne):
    """Single weights that leave in blocks."""

    round_to: int = 4


FREE = Threshold(floor=0)
TEN = torch.tensor([3.0, 9, 1, 7, 10, 2, 6, 8, 5, 4])


def kept(scores, budget, allocation=FREE, size=4, **options):
    _, gains = select(allocation, scores, budget, structure=Rounded(round_to=size), **options)
    return [gain.int().tolist() for gain in gains]


@pytest.mark.parametrize(
    ("budget", "width"), [*enumerate([0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 10]), (99, 10)]
)
def test_widths_of_ten_units_in_fours(budget, width):
    """0, 4, 8, and 10, which it was; the best by key stay."""
    (flags,) = kept([TEN], budget)
    assert flags == [int(score > 10 - width) for score in TEN]


def test_the_mean_of_a_block_decides_and_not_the_best_unit():
    """(10 + 1 + 1 + 1) / 4 = 3.25 is less than 4; unit by unit the 10 would come first."""
    one, other = torch.tensor([1.0, 10, 1, 1]), torch.full((4,), 4.0)
    assert kept([one, other], 4) == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert kept([one, other], 7) == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert kept([one, other], 8) == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert kept([one, other], 4, size=1) == [[0, 1, 0, 0], [1, 1, 1, 0]]


def test_what_is_beyond_a_multiple_is_a_block_with_a_mean_of_its_own():
    """9 9 9 9 | 8 1, of mean 4.5, and 5 5 5 5; then 9 9 9 9 | 8 3, of mean 5.5."""
    odd, even = torch.tensor([9.0, 1, 9, 8, 9, 9]), torch.full((4,), 5.0)
    assert kept([odd, even], 8) == [[1, 0, 1, 0, 1, 1], [1, 1, 1, 1]]
    assert kept([odd, even], 9) == [[1, 0, 1, 0, 1, 1], [1, 1, 1, 1]]
    assert kept([odd, even], 10) == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1]]
    odd[1] = 3
    assert kept([odd, even], 8) == [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0]]


def test_groups_smaller_than_a_block_stay_or_leave_whole():
    """Means 3.5, 2 and 9."""
    few = [torch.tensor([5.0, 2]), torch.tensor([2.0, 2, 2]), torch.tensor([9.0])]
    assert kept(few, 3) == [[1, 1], [0, 0, 0], [1]]
    assert kept(few, 2) == [[0, 0], [0, 0, 0], [1]]


def test_of_equal_means_the_earlier_group_comes_first():
    assert kept([torch.ones(8), torch.ones(4)], 8) == [[1] * 8, [0] * 4]
    assert kept([torch.ones(8), torch.ones(4)], 7) == [[1] * 4 + [0] * 4, [0] * 4]


@pytest.mark.parametrize(("floor", "width"), [(1, 4), (4, 4), (5, 8), (0.5, 8), (0.85, 10)])
def test_floors_are_rounded_up(floor, width):
    best = [int(score > 10 - width) for score in TEN]
    allocation = Threshold(floor=floor)
    other = torch.full((4,), 99.0)
    least = width + 4
    assert kept([TEN, other], least, allocation) == [best, [1] * 4]
    with pytest.raises(OverBudgetError) as caught:
        kept([TEN, other], least - 1, allocation)
    assert caught.value.least == least


def test_a_floor_that_binds_is_told():
    weak, strong = torch.linspace(0.1, 0.6, 6), torch.linspace(5, 6, 8)
    selection, (first, second) = select(Threshold(), [weak, strong], 8, structure=Rounded())
    assert first.tolist() == [0, 0, 1, 1, 1, 1]
    assert second.tolist() == [0] * 4 + [1] * 4
    assert selection.floors == ("layer0",)
    selection, _ = select(Threshold(), [weak, strong], 12, structure=Rounded())
    assert selection.floors == ()


@pytest.mark.parametrize(("budget", "width"), [(3, 0), (4, 4), (6, 4), (7, 7), (10, 7)])
def test_what_is_gone_is_in_no_block(budget, width):
    """Of ten units the three best have left: widths 4 and 7, which it is."""
    gone = (TEN <= 7).float()
    (flags,) = kept([TEN], budget, gone=[gone])
    assert flags == [int(7 - width < score <= 7) for score in TEN]


def test_the_floor_of_what_is_left_is_at_most_what_is_left():
    gone = (TEN <= 3).float()
    assert kept([TEN], 3, Threshold(), gone=[gone]) == [gone.int().tolist()]
    with pytest.raises(OverBudgetError) as caught:
        kept([TEN], 2, Threshold(), gone=[gone])
    assert caught.value.least == 3


def test_shares_of_every_group():
    """Uniform: ranks are keys, so that equal groups in turn give up their last blocks."""
    wide = [torch.arange(16.0), torch.arange(16.0) + 99]
    for budget, widths in ((16, [8, 8]), (20, [12, 8]), (27, [12, 12])):
        found = kept(wide, budget, Uniform())
        assert [sum(flags) for flags in found] == widths
        assert all(flags == sorted(flags) for flags in found)


def by_blocks(scores, prices, sizes, budget):
    """Plain Python: blocks in the order of their means, as many of them as fit."""
    blocks = []
    for layer, (score, size) in enumerate(zip(scores, sizes, strict=True)):
        order = sorted(range(len(score)), key=lambda i, score=score: -score[i])
        parts = [order[i : i + size] for i in range(0, len(order), size)]
        blocks += [(sum(score[i] for i in part) / len(part), layer, part) for part in parts]
    flags, cost = [[0] * len(score) for score in scores], 0
    for _, layer, part in sorted(blocks, key=lambda block: -block[0]):
        cost += prices[layer] * len(part)
        if cost > budget:
            break
        for unit in part:
            flags[layer][unit] = 1
    return flags


@pytest.mark.parametrize("seed", range(60))
def test_against_plain_python(seed):
    """Sizes and prices of all kinds, many equal scores; and never beyond the budget."""
    draw = random.Random(seed)
    size, top = draw.choice([2, 3, 4, 8]), draw.choice([3, 1000])
    scores = [
        [float(draw.randint(0, top)) for _ in range(draw.randint(1, 20))]
        for _ in range(draw.randint(1, 4))
    ]
    prices = [draw.randint(1, 5) for _ in scores]
    total = sum(price * len(score) for price, score in zip(prices, scores, strict=True))
    budget = draw.randint(0, total)
    selection, gains = select(
        FREE, [torch.tensor(score, dtype=torch.float64) for score in scores], budget,
        prices=prices, structure=Rounded(round_to=size),
    )  # fmt: skip
    sizes = [size] * len(scores)
    assert [gain.int().tolist() for gain in gains] == by_blocks(scores, prices, sizes, budget)
    assert selection.cost <= budget
    for gain in gains:
        width = int(gain.count_nonzero())
        assert width % size == 0 or width == len(gain)


@pytest.mark.parametrize("seed", range(30))
def test_blocks_of_one_are_units(seed):
    """With ones nothing is another than it was: the longest prefix of all units that fits."""
    draw = random.Random(seed)
    scores = [[float(draw.randint(0, 5)) for _ in range(draw.randint(1, 8))] for _ in range(3)]
    prices = [draw.randint(1, 4) for _ in scores]
    budget = draw.randint(0, sum(p * len(s) for p, s in zip(prices, scores, strict=True)))
    fitting = [
        flags
        for flags in every_prefix(scores)
        if sum(p * sum(f) for p, f in zip(prices, flags, strict=True)) <= budget
    ]
    for structure in (OneByOne(), Rounded(round_to=1)):
        _, gains = select(
            FREE, [torch.tensor(score) for score in scores], budget, prices=prices,
            structure=structure,
        )  # fmt: skip
        assert [gain.tolist() for gain in gains] == fitting[-1]


def widths(net, x):
    """(kept, size) of every group of filters."""
    network = Network(net, None, lambda: net(x), len(x))
    found = []
    for group in network.graph().groups(network.layers):
        there = torch.zeros(group.size, dtype=torch.bool)
        for part in group.slices:
            if part.makes:
                rows = part.parameter.detach().movedim(part.dim, 0).flatten(1).any(1)
                there[part.units[rows & (part.units >= 0)]] = True
        found.append((int(there.sum()), group.size))
    return found


ROUNDED = {
    "filters": Method(Magnitude(), Filters(round_to=8), Threshold(scale="layer_max")),
    "channels": Method(Magnitude(), Channels(round_to=8), Threshold(scale="layer_max")),
    "uniform": Method(Magnitude(), Filters(round_to=8), Uniform()),
}


SETTINGS = [("filters", 0.6), ("filters", 0.3), ("channels", 0.6), ("uniform", 0.3)]


@pytest.mark.parametrize(
    ("kind", "method", "keep"),
    [
        pytest.param(kind, *rest, marks=pytest.mark.slow if at else ())
        for at, rest in enumerate(SETTINGS)
        for kind in ("resnet", "vgg")
    ],
)
def test_networks_have_widths_of_eights_or_are_whole(kind, method, keep):
    torch.manual_seed(0)
    net = ResNet(20) if kind == "resnet" else VGG(width_factor=0.35)
    with torch.no_grad():  # as after training, where filters are of many sizes
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(torch.rand(module.weight.shape[0], 1, 1, 1))
    x = torch.randn(2, 3, 8, 8)
    report = prune(net, ROUNDED[method], keep, example=x)
    assert report.left <= keep * report.dense
    found = widths(net, x)
    assert all(left > 0 and (left % 8 == 0 or left == size) for left, size in found)
    assert any(left < size for left, size in found)
    if kind == "vgg":
        assert any(size % 8 for _, size in found), "so that being whole is another thing"
    small = thin(net, x)
    assert widths(small, x) == [(left, left) for left, _ in found]


@pytest.mark.parametrize("seed", range(8))
def test_budgets_hold_in_networks_of_any_width(seed):
    draw = random.Random(seed)
    sizes = [draw.randint(3, 40) for _ in range(draw.randint(2, 4))]
    size, keep = draw.choice([2, 3, 5, 8, 16]), draw.uniform(0.5, 0.95)
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b) for a, b in zip([6, *sizes], [*sizes, 3], strict=True)]
    net = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    x = torch.randn(4, 6)
    structure = Filters(round_to=size)
    report = prune(net, Method(Magnitude(), structure, Threshold()), keep, example=x)
    assert report.left <= keep * report.dense
    assert all(left % size == 0 or left == full for left, full in widths(net, x))


def test_a_second_event_rounds_what_the_first_has_left():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)), torch.randn(4, 6)
    method = Method(Magnitude(), Filters(round_to=8), Threshold())
    first = prune(net, method, 0.9, example=x)
    assert (widths(net, x), first.left) == ([(16, 20)], 16 * 10 + 3)
    small = thin(net, x)
    prune(small, method, 0.6, example=x)
    assert widths(small, x) == [(8, 16)]


@pytest.mark.parametrize("structure", [Filters, Channels])
@pytest.mark.parametrize("value", [0, -4, 2.5, 8.0, True, "8", None])
def test_blocks_of_no_whole_number_are_refused(structure, value):
    with pytest.raises(ValueError, match=r"\(round_to=\.\.\.\) is a whole number from 1 on, not "):
        structure(round_to=value)


PFP = SiPP("max"), Channels("max", round_to=8)


@pytest.mark.parametrize(
    ("criterion", "structure", "allocation"),
    [
        (Magnitude(), Filters(round_to=8), Fixed(threshold=0.1)),
        (*PFP, EqualError("random", replace=True)),
        (*PFP, EqualError("partial", replace=True)),
    ],
)
def test_what_is_drawn_on_average_or_given_cannot_be_rounded(criterion, structure, allocation):
    told = rf"^{type(allocation).__name__} leaves what it draws or is told to, so widths cannot be"
    with pytest.raises(ValueError, match=told) as caught:
        Method(criterion, structure, allocation)
    assert "use round_to=1, or an allocation that cuts one order." in str(caught.value)
    plain = type(structure)(structure.reduction)
    assert Method(criterion, plain, allocation).structure == plain


@pytest.mark.parametrize("select", ["top", "random", "partial"])
def test_exact_draws_are_rounded(select):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 28), nn.ReLU(), nn.Linear(28, 3))
    x = torch.randn(16, 6)
    report = prune(net, Method(*PFP, EqualError(select)), 0.6, example=x, loader=[x])
    assert report.left <= 0.6 * report.dense
    found = widths(net, x)
    assert all(left % 8 == 0 or left == size for left, size in found)
    assert any(left < size for left, size in found)
