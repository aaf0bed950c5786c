"""The small network that contracts are checked on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_prune.network.network import Network


def small_network(order: Sequence[int] | None = None) -> Network:
    """Two convolutions, a norm, dropout, and a linear layer behind a flatten; always the same.

    Arguments:
        order: A permutation of the six filters of the first layer; everything that lives on them
            is permuted too, so that the network computes the same.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, norm, second = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 3)
        head = nn.Linear(20, 4)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    if order is not None:
        for parameter in (first.weight, first.bias, norm.weight):
            assert parameter is not None
            parameter.data = parameter.data[list(order)].clone()
        second.weight.data = second.weight.data[:, list(order)].clone()
    model = nn.Sequential(first, norm, nn.ReLU(), second, nn.Dropout(0.2), nn.Flatten(), head)
    example = small_batches()[0]
    return Network(model, None, lambda: model(example), len(example))


def small_batches() -> tuple[Tensor, ...]:
    """Two batches of four images of 2 x 6 x 6."""
    return torch.rand(2, 4, 2, 6, 6, generator=torch.Generator().manual_seed(0)).unbind()


def copied(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model, by name, for a comparison later."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def check_repr(part: object) -> None:
    """Refuse a repr that differs from process to process."""
    assert " at 0x" not in repr(part), (
        f"the repr of {type(part).__name__} holds an address, and checkpoints recognise a method "
        "by its repr: make it a dataclass"
    )
