"""Mean activation by hand."""

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.criteria import MeanActivation
from lightning_prune.network.network import Network
from lightning_prune.structures import Weights


class Columns(Weights):
    """Units are input channels of a layer without groups."""

    def units(self, layer, tensor: Tensor) -> Tensor:
        return tensor.movedim(layer.in_dim, 0).flatten(1)


def score(net, structure, *batches):
    criterion = MeanActivation()
    criterion.reset()
    (layer,) = Network(net).layers
    for batch in batches:
        criterion.observe(layer, batch)
    return criterion.score(layer, structure)


def test_means_are_over_samples_of_all_batches():
    """Inputs 1 and 3 and 5, then 0 and -4 and 0 of two batches of different sizes."""
    batches = torch.tensor([[1.0, 0.0], [3.0, -4.0]]), torch.tensor([[5.0, 0.0]])
    assert score(nn.Linear(2, 3), Columns(), *batches).tolist() == pytest.approx([3, 4 / 3])
    assert score(nn.Linear(2, 2), Weights(), *batches).tolist() == pytest.approx([3, 4 / 3] * 2)


def test_positions_and_tokens_are_averaged():
    x = torch.randn(4, 3, 5, 5).relu()
    wanted = x.mean((0, 2, 3)).tolist()
    for net in (nn.Conv2d(3, 2, 3), nn.ConvTranspose2d(3, 2, 3)):
        assert score(net, Columns(), x).tolist() == pytest.approx(wanted)
    tokens = x.flatten(2).transpose(1, 2)
    assert score(nn.Linear(3, 2), Columns(), tokens).tolist() == pytest.approx(wanted)


def test_entries_of_a_grouped_convolution_know_their_channel():
    """Two groups of two channels: filters 0 and 1 read channels 0 and 1, the others 2 and 3."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    found = score(nn.Conv2d(4, 4, 1, groups=2), Weights(), x)
    assert found.tolist() == [1, 2, 1, 2, 3, 4, 3, 4]


def test_layers_are_on_one_scale_and_silence_scores_zero():
    x = torch.full((2, 2, 8, 8), 0.5)
    assert score(nn.Conv2d(2, 2, 3), Columns(), x).tolist() == [0.5, 0.5]
    assert score(nn.Linear(2, 2), Columns(), torch.full((1, 2), 0.5)).tolist() == [0.5, 0.5]
    assert score(nn.Linear(2, 2), Columns(), torch.zeros(1, 2)).tolist() == [0, 0]
