"""Why nothing got faster: each reason is said where it holds. No clock is judged."""

from __future__ import annotations

import clocks
import pytest
import torch
from torch import nn

from lightning_prune import clock
from lightning_prune.evaluation import Speed, speed_notes

EXAMPLE = torch.randn(2, 3, 8, 8)


def row(name: str, batch: int, ms: float) -> Speed:
    return Speed(name, batch, ms, ms, ms, 1e3 * batch / ms, None, None, "cpu", 1)


def net(width: int = 16) -> nn.Module:
    first, second = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 4, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.Conv2d(4, 64, 5, padding=2))


@pytest.fixture
def by_flops(monkeypatch):
    """A clock that counts products: what a side takes is known."""
    monkeypatch.setattr(clock, "fastest", clocks.fastest)


def test_what_is_faster_needs_no_reason():
    rows = [row("dense", 1, 4.0), row("thin", 1, 2.0), row("dense", 16, 30.0), row("thin", 16, 9.0)]
    assert speed_notes(rows) == []


def test_a_small_batch_is_named():
    rows = [row("dense", 1, 4.0), row("thin", 1, 4.0), row("dense", 16, 30.0), row("thin", 16, 10)]
    assert speed_notes(rows) == [
        "thin is faster than dense at some batches only, as fast 1.00 times at batch 1, 3.00 times "
        "at batch 16: the small batch leaves too little work for its removal to show"
    ]


def test_without_the_models_only_the_times_are_told():
    rows = [row("dense", 1, 4.0), row("masked", 1, 4.1)]
    assert speed_notes(rows) == ["masked is not faster than dense: as fast 0.98 times at batch 1"]


def test_zeros_make_nothing_faster():
    masked = net()
    with torch.no_grad():
        masked[0].weight[:8] = 0.0
        masked[2].weight[:, :8] = 0.0
    rows = [row("dense", 1, 4.0), row("masked", 1, 4.0)]
    _, zeros = speed_notes(rows, models={"dense": net(), "masked": masked}, example=EXAMPLE)
    macs = 64 * 9 * (3 * 16 + 16 * 4) + 64 * 25 * 4 * 64
    spared = 64 * 9 * (3 * 8 + 8 * 4)
    assert zeros.startswith(f"{spared / macs:.0%} of the multiply-adds of masked are with weights")
    assert zeros.endswith("lightning_prune.thinning takes out those of whole units")


def test_equal_multiply_adds_are_told():
    rows = [row("dense", 1, 4.0), row("other", 1, 4.0)]
    told = speed_notes(rows, models={"dense": net(), "other": net()}, example=EXAMPLE)
    macs = 64 * 9 * (3 * 16 + 16 * 4) + 64 * 25 * 4 * 64
    assert told[1:] == [f"other has as many multiply-adds as dense: {macs:,} a sample"]


def test_time_outside_of_what_was_removed(by_flops):
    rows = [row("dense", 1, 4.0), row("thin", 1, 4.0)]
    models = {"dense": net(), "thin": net(8)}
    told = speed_notes(rows, models=models, example=EXAMPLE)
    products = 9 * (3 * 16 + 16 * 4), 25 * 4 * 64
    share = products[1] / sum(products)
    assert told[1:] == [
        f"{share:.0%} of the time of dense is outside of the 2 layers that got narrower in thin, "
        f"so that it could be {1 / share:.1f} times as fast at most"
    ]


def test_widths_are_named_where_they_cost_as_much_as_the_next_multiple(by_flops, monkeypatch):
    rows = [row("dense", 1, 4.0), row("thin", 1, 4.0)]
    models = {"dense": net(), "thin": net(13)}
    told = speed_notes(rows, models=models, example=EXAMPLE)
    assert not any("multiples of 8" in note for note in told), "by products wider costs more"
    monkeypatch.setattr(clock, "fastest", lambda sides, rounds, device: [1.0] * len(sides))
    told = speed_notes(rows, models=models, example=EXAMPLE)
    assert told[-1] == (
        "2 of the 2 narrower layers of thin take as long as with widths rounded up to multiples of "
        "8, or longer: 0 (13 of 3), 2 (4 of 13); round what is kept to 8"
    )
