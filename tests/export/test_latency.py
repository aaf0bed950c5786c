"""What sliced layers cost in time: who is measured, and how it is told. No clock is judged."""

import pytest
import torch
from nets_factored import conv_net, factor, sliced_net
from torch import nn

from lightning_prune.export import LayerSpeed, latency, slower_layers, tell

MAPS = {"0": (12, 12), "3": (12, 12), "5": (6, 6), "8": (), "10": ()}


def test_layers_with_slices_are_measured():
    rows = slower_layers(sliced_net(), MAPS, batch=2, repeats=1)
    assert {row.name: (row.slices, row.rank) for row in rows} == {
        "3": (2, 3),
        "5": (4, 3),
        "8": (3, 3),
    }
    assert all(row.speedup > 0 and row.batch == 2 and row.device == "cpu" for row in rows)
    assert [row.speedup for row in rows] == sorted(row.speedup for row in rows)


def test_nothing_of_the_model_or_of_random_streams_changes():
    net = sliced_net().train()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    before = torch.random.get_rng_state()
    slower_layers(net, MAPS, batch=1, repeats=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert list(net.state_dict()) == list(state)
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(module.training for module in net.modules())
    net(torch.randn(2, 3, 12, 12)).sum().backward()


def test_both_sides_are_the_layer(monkeypatch):
    seen = []

    def see(sides, repeats, device):
        seen.append([side() for side in sides])
        return [2.0, 1.0]

    monkeypatch.setattr(latency, "fastest", see)
    rows = slower_layers(sliced_net().double(), MAPS | {"8": (5,)}, batch=2)
    assert [row.speedup for row in rows] == [2.0] * 3
    for dense, pair in seen:
        torch.testing.assert_close(dense, pair)
    assert seen[2][0].shape == (2, 5, 32)


def test_others_are_left_out():
    assert slower_layers(conv_net(), MAPS) == []
    assert slower_layers(sliced_net(), {"0": (12, 12)}) == []
    one = nn.Sequential(factor(nn.Linear(6, 6), 0, 1))
    assert slower_layers(one, {"0": ()}) == []


def test_a_sentence():
    rows = [
        LayerSpeed("conv2", 8, 3, 0.708, "cpu", 16),
        LayerSpeed("conv1", 2, 3, 0.9, "cpu", 16),
        LayerSpeed("fc", 2, 3, 1.6, "cpu", 16),
    ]
    assert tell(rows) == (
        "slices make 2 of 3 sliced layers slower than dense on this cpu (batch 16, one call): "
        "conv2 (8 slices, 0.71 times as fast), conv1 (2 slices, 0.90 times as fast)"
    )
    assert tell(rows[2:]) == (
        "slices make none of 1 sliced layers slower than dense on this cpu (batch 16, one call)"
    )
    assert tell([]) == ""


def test_what_cannot_be_measured_is_said():
    with pytest.raises(ValueError, match="batch and repeats are positive, not 0 and 5"):
        slower_layers(conv_net(), {}, batch=0)
    with pytest.raises(ValueError, match=r"layer '5' reads maps of 2 axes, not \(6,\)"):
        slower_layers(sliced_net(), {"5": (6,)})
