"""Every allocation of conf/allocation keeps the contract, and whatever breaks it is told so."""

from dataclasses import dataclass

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightning_prune.allocations import Allocation, Fixed, Patterned, Threshold, Uniform
from lightning_prune.configs import CONF
from lightning_prune.structures import Pattern
from lightning_prune.testing import check_allocation

OPTIONS = sorted(path.stem for path in (CONF / "allocation").glob("*.yaml"))
WITHIN_ROWS = {"uniform_rows", "water_filling", "water_filling_hybrid"}
DRAWN = {"equal_error_random", "equal_error_partial"}
FOR = {"patterned": Pattern(2, 4)}


@pytest.mark.parametrize("option", OPTIONS)
def test_contract(option):
    allocation = instantiate(OmegaConf.load(CONF / "allocation" / f"{option}.yaml"))
    check_allocation(allocation, FOR.get(option), ordered=option not in WITHIN_ROWS | DRAWN)


@pytest.mark.parametrize(
    "allocation",
    [
        Threshold(floor=0),
        Threshold(floor=0.25),
        Threshold(floor=5, scale="layer_max"),
        Uniform(floor=0.1),
        Fixed(threshold=0.5),
        Fixed(threshold=0.0),
    ],
    ids=repr,
)
def test_contract_with_other_arguments(allocation):
    check_allocation(allocation)


@pytest.mark.parametrize("structure", [Pattern(1, 2), Pattern(1, 4), Pattern(5, 12)], ids=repr)
def test_contract_of_patterns(structure):
    check_allocation(Patterned(), structure)


def test_without_a_structure_it_fits_it_asks_for_one():
    with pytest.raises(ValueError, match="needs a Pattern: give structure="):
        check_allocation(Patterned())


@dataclass(frozen=True)
class Odd(Threshold):
    """A threshold that is wrong in one way."""

    what: str = "nothing"
    by_score = False

    def keys(self, candidates):
        keys = [key.clone() for key in super().keys(candidates)]
        if self.what == "placed":
            keys[0] += 1.0
        if self.what == "last":
            keys = [key + torch.arange(len(key)) * 1e-6 for key in keys]
        if self.what == "stingy":
            keys[0][0] = -torch.inf
        return keys

    def gains(self, candidate, kept):
        return kept * (torch.arange(len(kept)) != 1) if self.what == "losing" else kept


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("placed", "another order of layers"),
        ("last", "ties leave out of order"),
        ("stingy", "where a budget of"),
        ("losing", "where a budget of"),
    ],
)
def test_what_breaks_the_contract_is_named(what, message):
    with pytest.raises(AssertionError, match=message):
        check_allocation(Odd(what=what))


def test_nothing_is_broken_in_the_allocation_that_the_broken_ones_start_from():
    check_allocation(Odd())


def test_equal_keys_that_leave_together_are_below_the_budget():
    class Classes(Allocation):
        """The best third, the middle third and the rest of every layer."""

        atomic = True

        def keys(self, candidates):
            return [(c.score.argsort().argsort() * 3 // len(c.score)).float() for c in candidates]

    check_allocation(Classes(floor=0))
