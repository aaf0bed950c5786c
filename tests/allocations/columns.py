"""Columns: the inputs of linear layers as units, without a traced network."""

from lightning_prune.network.groups import Group
from lightning_prune.structures import Mask


class Columns(Mask):
    """Inputs of a linear layer; a column costs as many parameters as it has entries."""

    def groups(self, layers, graph):
        return [Group(layer.name, (layer,), (), layer.weight.shape[1]) for layer in layers]

    def units(self, layer, tensor):
        return tensor.mT

    def cost(self, gains, measure):
        return sum(int(v.count_nonzero()) * len(g.layers[0].weight) for g, v in gains.items())

    def factors(self, group, gain):
        yield group.layers[0].parameter, gain


class EqualColumns(Columns):
    """At the price of one each."""

    def cost(self, gains, measure):
        return sum(int(gain.count_nonzero()) for gain in gains.values())
