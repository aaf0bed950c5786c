"""Water-filling: exact counts for the least sum of errors, and the choice of the hybrid."""

import itertools

import numpy as np
import pytest
import torch
from columns import EqualColumns
from scipy.optimize import minimize
from torch import nn

from lightning_prune.allocations import Bernstein, Candidate, WaterFilling, allocate
from lightning_prune.allocations.rows import Rows
from lightning_prune.criteria.ties import ties_broken
from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.layers import Layer
from lightning_prune.structures import Weights


def candidate(weight, score, name="fc", gone=None):
    """Single weights of a linear layer, (outputs, inputs)."""
    weight, score = torch.as_tensor(weight), torch.as_tensor(score)
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight.data = weight
    (group,) = Weights().groups([Layer(name, module)], None)
    return Candidate(group, Weights(), score.reshape(-1), gone)


def counts(allocation, candidates, budget):
    """By candidate, how many of every row stay."""
    gains = allocate(allocation, candidates, budget, "params").gains
    return [Rows.of(c, True).sums(gains[c.group][1] != 0) for c in candidates]


def drawn_candidates(*shapes):
    """Scores of very different sums, row by row."""
    return [
        candidate(torch.randn(shape), torch.rand(shape) ** 3 * torch.rand(shape[0], 1), f"fc{i}")
        for i, shape in enumerate(shapes)
    ]


def objective(candidates, rows_kept, bound):
    """Sum over the rows of the error, each row weighed by one over the filters of its layer."""
    total = 0.0
    for each, kept in zip(candidates, rows_kept, strict=True):
        rows = Rows.of(each, True)
        alive = rows.total > 0
        alpha = bound.alpha(rows.total, each.group)
        total += float(bound.error(alpha[alive], kept[alive]).sum()) / (len(rows.total) / 2)
    return total


def test_the_bound_with_the_published_constants():
    """3 ln(8 * 2 * 1 / 1e-16) = 118.842, A = 2 * 118.842 * 1.4 / (3 * 2) = 55.46."""
    bound = Bernstein()
    alpha = bound.alpha_at(torch.tensor(1.4).double(), 1, 1)
    assert float(alpha) == pytest.approx(2 * 118.842 * 1.4, rel=1e-5)
    assert float(bound.error(alpha, torch.tensor(2.0))) == pytest.approx(56.921, abs=5e-4)


@pytest.mark.parametrize(
    ("total", "draws", "error"), [(1.4, 50, 0.59640), (10.0, 400, 0.56074), (4.0, 200, 0.49704)]
)
def test_the_clean_bound_and_its_inverse(total, draws, error):
    """m = S (6 + 2 eps) ln(2 / .01) / (3 eps^2)."""
    bound = Bernstein("clean", failure=0.01)
    alpha = bound.alpha_at(torch.tensor(total).double(), 1, 1)
    found = bound.error(alpha, torch.tensor(float(draws)))
    assert float(found) == pytest.approx(error, abs=5e-6)
    by_hand = total * (6 + 2 * float(found)) * np.log(200) / (3 * float(found) ** 2)
    assert float(bound.draws(alpha, found)) == pytest.approx(by_hand) == pytest.approx(draws)


@pytest.mark.parametrize("form", ["sipp", "pfp", "clean"])
def test_what_a_draw_takes_off_the_error_is_the_difference(form):
    bound, draws = Bernstein(form), torch.arange(2.0, 2000).double()
    alpha = torch.tensor(500.0).double()
    wanted = bound.error(alpha, draws - 1) - bound.error(alpha, draws)
    assert torch.allclose(bound.decrease(alpha, draws), wanted, rtol=1e-7)
    far = torch.tensor(1e9).double()
    steps = bound.decrease(alpha, torch.stack([far, far + 1]))
    assert steps[0] > steps[1] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "tight"}, "'sipp', 'pfp' or 'clean'"),
        ({"failure": 0.0}, "in \\(0, 1\\)"),
        ({"failure": 1.0}, "in \\(0, 1\\)"),
        ({"constant": -1.0}, "is positive"),
    ],
)
def test_bad_constants_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bernstein(**arguments)


def test_the_positions_of_traced_units_enter_the_bound_and_those_of_single_weights_do_not():
    """Whether single weights were traced depends on what was asked before."""
    module = nn.Conv2d(3, 4, 3)
    layer, total, bound = Layer("c", module), torch.ones(1).double(), Bernstein()
    part = Slice("c", module, "weight", 1, torch.arange(3), positions=100)
    channels = Group("c", (layer.traced(100, 1),), (part,), 3)
    (weights,) = Weights().groups([layer.traced(100, 1)], None)
    assert torch.equal(bound.alpha(total, channels), bound.alpha_at(total, 100, 9))
    assert torch.equal(bound.alpha(total, weights), bound.alpha_at(total, 1, 9))


@pytest.mark.parametrize("trial", range(20))
def test_counts_are_the_best_of_all(trial):
    """Every way to hand out the budget, at least one to every row, is tried."""
    torch.manual_seed(trial)
    candidates = drawn_candidates((1, 5), (2, 4))
    bound = Bernstein(("sipp", "clean")[trial % 2])
    sizes = [
        torch.bincount(Rows.of(c, True).owner, minlength=2 * f)
        for c, f in zip(candidates, (1, 2), strict=True)
    ]
    flat = torch.cat(sizes).tolist()
    rows = sum(size > 0 for size in flat)
    for budget in (rows, rows + 2, rows + 4):
        found = counts(WaterFilling("top", bound=bound), candidates, budget)
        ranges = [range(min(1, size), size + 1) for size in flat]
        every = [torch.tensor(c).double() for c in itertools.product(*ranges) if sum(c) == budget]
        least = min(objective(candidates, each.split([2, 4]), bound) for each in every)
        assert objective(candidates, found, bound) == pytest.approx(least, rel=1e-12)
        assert sum(int(each.sum()) for each in found) == budget


def test_counts_are_those_of_the_convex_program():
    """scipy solves the relaxed problem; whole numbers can only be worse, and lie beside it."""
    torch.manual_seed(3)
    candidates, bound, budget = drawn_candidates((6, 40), (3, 25)), Bernstein(), 120
    found = torch.cat(counts(WaterFilling("top"), candidates, budget))
    parts = [Rows.of(c, True) for c in candidates]
    alpha = torch.cat(
        [bound.alpha(r.total, c.group) for r, c in zip(parts, candidates, strict=True)]
    )
    weight = torch.cat([torch.full_like(r.total, 2 / len(r.total)) for r in parts])
    sizes = torch.cat([torch.bincount(r.owner, minlength=len(r.total)) for r in parts])

    def value(x):
        return float((weight * bound.error(alpha, torch.from_numpy(x))).sum())

    def slope(x):
        x = torch.from_numpy(x).requires_grad_()
        (weight * bound.error(alpha, x)).sum().backward()
        return x.grad.numpy()

    solved = minimize(
        value, np.full(len(sizes), budget / len(sizes)), jac=slope, method="SLSQP",
        bounds=[(0.1, float(size)) for size in sizes], options={"maxiter": 1000, "ftol": 1e-12},
        constraints=[{"type": "eq", "fun": lambda x: x.sum() - budget, "jac": np.ones_like}],
    )  # fmt: skip
    assert solved.success
    assert solved.fun <= value(found.numpy()) <= solved.fun * 1.01
    assert (found - torch.from_numpy(solved.x)).abs().max() <= 1.01
    assert int(found.sum()) == budget


def test_equal_rows_share_alike_and_more_goes_to_larger_sums_and_smaller_layers():
    same = candidate(torch.ones(3, 10), torch.rand(10).repeat(3, 1))
    (found,) = counts(WaterFilling("top"), [same], 12)
    assert found.tolist() == [4, 0, 4, 0, 4, 0]
    rising = candidate(torch.ones(3, 10), torch.rand(10) * torch.tensor([[1.0], [2.0], [4.0]]))
    (found,) = counts(WaterFilling("top"), [rising], 12)
    assert found[0] < found[2] < found[4]
    score = torch.rand(1, 10)
    narrow = candidate(torch.ones(1, 10), score, "narrow")
    wide = candidate(torch.ones(4, 10), score.repeat(4, 1), "wide")
    few, many = counts(WaterFilling("top"), [narrow, wide], 25)
    assert few[0] > many[0]


def test_every_row_that_scores_keeps_one_before_any_keeps_two():
    some = candidate(
        torch.ones(5, 8), torch.rand(5, 8) * torch.tensor([[1e-4], [1], [2], [3], [9]])
    )
    (found,) = counts(WaterFilling("top"), [some], 5)
    assert found[0::2].tolist() == [1] * 5
    (found,) = counts(WaterFilling("top"), [some], 3)
    assert found[0::2].tolist() == [0, 0, 1, 1, 1], "of too few, the rows with the largest sums"


def test_within_a_row_the_best_stay_and_signs_are_rows_of_their_own():
    weight = torch.tensor([[1.0, 1, 1, -1, -1, -1]])
    some = candidate(weight, torch.tensor([[0.1, 0.3, 0.2, 0.9, 0.7, 0.8]]))
    gains = allocate(WaterFilling("top"), [some], 2, "params").gains[some.group][1]
    assert gains.tolist() == [0, 1, 0, 1, 0, 0]


def test_without_any_score_the_smallest_weights_of_all_leave():
    one, two = (
        candidate(weight, ties_broken(torch.zeros(3), torch.tensor(weight[0]).abs()), name)
        for name, weight in (("one", [[0.1, -0.5, 0.3]]), ("two", [[0.2, 0.9, -0.4]]))
    )
    for select in ("top", "random", "hybrid"):
        chosen = allocate(WaterFilling(select), [one, two], 3, "params")
        assert chosen.gains[one.group][1].tolist() == [0, 1, 0]
        assert chosen.gains[two.group][1].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("units", "stay", "left_out", "drawn"),
    [
        (100, 50, 6.00, 7.59),
        (100, 80, 2.40, 5.12),
        (1000, 200, 9.60, 2.53),
        (1000, 500, 6.00, 1.34),
        (1000, 900, 1.20, 0.92),
    ],
)
def test_the_hybrid_draws_where_the_bound_for_draws_is_below(units, stay, left_out, drawn):
    """Sensitivities of 4 in all, spread evenly; one position, one place of the kernel."""
    some = candidate(torch.ones(1, units), torch.full((1, units), 4 / units, dtype=torch.float64))
    bound = Bernstein()
    alpha = bound.alpha(torch.tensor(4.0).double(), some.group)
    assert float(bound.error(alpha, torch.tensor(float(stay)))) == pytest.approx(drawn, abs=0.01)
    dropped = torch.tensor(4 * (1 - stay / units))
    assert float(bound.deterministic_error(dropped)) == pytest.approx(left_out, abs=0.005)
    kept = (torch.arange(units) < stay).float()
    gains = WaterFilling("hybrid").gains(some, kept)
    assert int(gains.count_nonzero()) == stay
    assert torch.equal(gains, kept) == (left_out <= drawn)
    random = WaterFilling("random").gains(some, kept)
    assert torch.equal(gains, random) == (drawn < left_out)


def test_the_hybrid_chooses_row_by_row():
    """A flat wide row is drawn; a peaked one beside it keeps its best as they are."""
    flat, peaked = torch.full((1000,), 4e-3), torch.full((1000,), 1e-6)
    peaked[:5] = 1.0
    some = candidate(torch.ones(2, 1000), torch.stack([flat, peaked]))
    kept = torch.zeros(2, 1000)
    kept[:, :400] = 1.0
    gains = WaterFilling("hybrid").gains(some, kept.reshape(-1)).view(2, 1000)
    assert torch.equal(gains[1], kept[1])
    assert gains[0].count_nonzero() == 400
    assert (gains[0][gains[0] != 0] > 1).all()


def test_a_selection_repeats_itself():
    """A second pass with the same budget is the first; nothing is written into what was asked."""
    candidates = drawn_candidates((4, 500), (3, 300))
    for select in ("random", "hybrid"):
        one, two = (allocate(WaterFilling(select), candidates, 900, "params") for _ in range(2))
        assert one.rescaled
        for each in candidates:
            assert torch.equal(one.gains[each.group][1], two.gains[each.group][1])


def test_other_units_are_one_row_a_group():
    (group,) = EqualColumns().groups([Layer("fc", nn.Linear(6, 2))], None)
    some = Candidate(group, EqualColumns(), torch.tensor([3.0, 1, 2, 0, 5, 4]))
    gains = allocate(WaterFilling("top"), [some], 3, "params").gains[group][1]
    assert gains.tolist() == [1, 0, 0, 0, 1, 1]
    (drawn,) = [allocate(WaterFilling(), [some], 3, "params").gains[group][1]]
    assert drawn.count_nonzero() == 3
    assert drawn[3] == 0
