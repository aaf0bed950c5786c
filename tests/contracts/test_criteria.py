"""Every criterion of conf/criterion keeps the contract, and whatever breaks it is told so."""

from dataclasses import dataclass

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightning_prune.configs import CONF
from lightning_prune.criteria import (
    ActivationCriterion,
    Criterion,
    GradientCriterion,
    Magnitude,
    Random,
)
from lightning_prune.structures import Channels, Filters, Pattern, Ranks, Weights
from lightning_prune.testing import check_criterion

OPTIONS = sorted(path.stem for path in (CONF / "criterion").glob("*.yaml"))
# the structure that a criterion is for, where it is neither weights nor filters
STRUCTURES = {"thinet": Channels(), "mean_activation": Channels()}
STRUCTURES |= dict.fromkeys(("spectral_error", "tail_error", "energy_per_cost", "pca"), Ranks())
KNOW_THE_PLACE = {"random", "set"}


@pytest.mark.parametrize("option", OPTIONS)
def test_contract(option):
    criterion = instantiate(OmegaConf.load(CONF / "criterion" / f"{option}.yaml"))
    equivariant = option not in KNOW_THE_PLACE
    check_criterion(criterion, STRUCTURES.get(option), equivariant=equivariant)


@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, float("inf")])
def test_contract_for_other_norms(p):
    check_criterion(Magnitude(p))


@dataclass(frozen=True)
class InputNorm(ActivationCriterion):
    """Sum of the absolute inputs, times the weight."""

    mean: bool = False

    def observe(self, layer, value):
        channels = value.abs().movedim(1 if value.dim() == 4 else -1, 0).flatten(1)
        self.record(layer, channels.mean(1) if self.mean else channels.sum(1))

    def score(self, layer, structure):
        seen = self.seen[layer.name]
        shape = [1, -1] + [1] * (layer.weight.dim() - 2)
        return structure.units(layer, layer.weight.abs() * seen.view(shape)).norm(dim=1)


@dataclass(frozen=True)
class Saliency(GradientCriterion):
    """|weight * gradient|."""

    def score(self, layer, structure):
        units = structure.units(layer, layer.weight)
        return (units * structure.units(layer, self.seen[layer.name])).abs().sum(1)


@pytest.mark.parametrize("criterion", [InputNorm(), Saliency()], ids=repr)
@pytest.mark.parametrize("structure", [Weights(), Filters(), Channels(), Pattern(1, 2)], ids=repr)
def test_contract_of_criteria_that_watch(criterion, structure):
    check_criterion(criterion, structure)


def test_means_of_batches_do_not_add_up():
    with pytest.raises(AssertionError, match="batches of another size: 'sum' does not combine"):
        check_criterion(InputNorm(mean=True))


GENERATOR = torch.Generator()
WRONGS = {
    "nothing": lambda layer, score: score,
    "short": lambda layer, score: score[1:],
    "infinite": lambda layer, score: score / (score > score.median()),
    "drifting": lambda layer, score: score + torch.randn(1, generator=GENERATOR),
    "drawing": lambda layer, score: score + 0 * torch.rand(1),
    "writing": lambda layer, score: layer.parameter.data.zero_().sum() + score,
    "freezing": lambda layer, score: score * (layer.module.eval() is not None),
    "placed": lambda layer, score: score + torch.arange(len(score)),
}


@dataclass(frozen=True)
class Broken(Magnitude):
    """A criterion that is wrong in one way."""

    what: str = "nothing"

    def score(self, layer, structure):
        return WRONGS[self.what](layer, super().score(layer, structure))

    def signed_score(self, layer, structure):
        return None


class Signed(Magnitude):
    def signed_score(self, layer, structure):
        return self.score(layer, structure) + 1


class Addressed(Magnitude):
    __repr__ = object.__repr__


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (Broken(what="short"), "scored the 108 units"),
        (Broken(what="infinite"), "not finite"),
        (Broken(what="drifting"), "not repeatable"),
        (Broken(what="drawing"), "random stream"),
        (Broken(what="writing"), "changed '0.weight'"),
        (Broken(what="freezing"), "changed modes"),
        (Broken(what="placed"), "by their place"),
        (Signed(), "more than the sign"),
        (Addressed(), "holds an address"),
    ],
    ids=lambda value: getattr(value, "what", type(value).__name__),
)
def test_what_breaks_the_contract_is_named(criterion, message):
    with pytest.raises(AssertionError, match=message):
        check_criterion(criterion)


def test_nothing_is_broken_in_the_criterion_that_the_broken_ones_start_from():
    check_criterion(Broken())


def test_random_scores_know_the_place_of_a_unit():
    with pytest.raises(AssertionError, match="by their place"):
        check_criterion(Random())


def test_a_plain_class_is_recognised_in_another_process():
    class Plain(Criterion):
        def score(self, layer, structure):
            return structure.units(layer, layer.weight).amax(1)

    assert repr(Plain()) == "Plain()"
    check_criterion(Plain())


def test_without_a_structure_it_fits_it_asks_for_one():
    class Elsewhere(Magnitude):
        needs = type("Ranks", (), {})

    with pytest.raises(ValueError, match="needs a Ranks: give structure="):
        check_criterion(Elsewhere())
