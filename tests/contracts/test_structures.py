"""Every structure of conf/structure keeps the contract, and whatever breaks it is told so."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightning_prune.configs import CONF
from lightning_prune.structures import Blocks, Channels, Filters, Pattern, Weights
from lightning_prune.testing import check_structure

OPTIONS = sorted(path.stem for path in (CONF / "structure").glob("*.yaml"))


@pytest.mark.parametrize("option", OPTIONS)
def test_contract(option):
    check_structure(instantiate(OmegaConf.load(CONF / "structure" / f"{option}.yaml")))


@pytest.mark.parametrize(
    "structure",
    [
        Weights(clean=True), Filters("sum"), Filters("max"), Channels("sum"), Channels("max"),
        Pattern(1, 2), Pattern(3, 5), Blocks(1, 1), Blocks(3, 7), Blocks(100, 2), Blocks(2, 100),
    ],
    ids=repr,
)  # fmt: skip
def test_contract_with_other_arguments(structure):
    check_structure(structure)


class Squared(Weights):
    def units(self, layer, tensor):
        return super().units(layer, tensor) ** 2


class Flat(Weights):
    def units(self, layer, tensor):
        return super().units(layer, tensor)[:, 0]


class Cheap(Weights):
    def cost(self, gains, measure):
        return super().cost(gains, measure) - 1


class Falling(Weights):
    def cost(self, gains, measure):
        cost = super().cost(gains, measure)
        return cost if cost % 10 else 0  # everything costs 458


class Free(Filters):
    def cost(self, gains, measure):
        return super().cost(gains, measure) if measure == "params" else 0


class Dear(Weights):
    def price(self, group, measure):
        return 2

    def cost(self, gains, measure):
        return super().cost(gains, measure) // 2


class Rounding(Weights):
    def write(self, group, gain):
        super().write(group, (gain != 0).float())


class Rescaling(Weights):
    def hold(self, group, gain):
        self.write(group, gain)


class Loose(Weights):
    def hold(self, group, gain):
        pass


class Forgetful(Weights):
    def restore(self, layer):
        layer.parameter.data.zero_()


class Twins(Weights):
    def groups(self, layers, graph):
        return [*super().groups(layers, graph), super().groups(layers, graph)[0]]


class Addressed(Weights):
    __repr__ = object.__repr__


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Squared(), "are not linear"),
        (Flat(), r"not of \(units, entries\)"),
        (Cheap(), "do not cost all entries"),
        (Falling(), "falls when units are added"),
        (Free(), "costs nothing in macs"),
        (Dear(), "do not sum to the cost"),
        (Rounding(), "writing '0' does not leave gain"),
        (Rescaling(), "holding '0' does not leave gain"),
        (Loose(), "holding '0' does not leave gain"),
        (Forgetful(), "keeping everything changed"),
        (Twins(), "not unique"),
        (Addressed(), "holds an address"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_breaks_the_contract_is_named(structure, message):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_structure(structure)
