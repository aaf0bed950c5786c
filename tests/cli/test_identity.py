"""Identity: what changes a number changes it, what does not does not."""

from __future__ import annotations

import pytest

from lightning_prune import compose
from lightning_prune.cli.identity import control_identity, dense_identity, run_identity

SAME = (
    "name=other", "trainer.devices=2", "trainer.accelerator=gpu", "threads=2", "data.workers=1",
    "logger=none", "ckpt_path=last", "redo=true", "control=false", "share=false",
)  # fmt: skip
PRUNED_ONLY = (
    "method=random", "schedule.keep=0.2", "measure=macs", "batches=3", "method.criterion.p=1",
)  # fmt: skip
OTHER = (
    "seed=1", "optim.optimizer.lr=0.3", "data.batch_size=64", "model=resnet8",
    "+trainer.precision=64",
    "rewind=none", "epochs=106", "task.label_smoothing=0.1", "data=synthetic",
)  # fmt: skip


def identities(*overrides: str) -> tuple[str, str, str]:
    cfg = compose("train", *overrides)
    times = {30: cfg.schedule.get("keep"), 45: 0.1}
    return (
        run_identity(cfg),
        control_identity(cfg, times, "epoch"),
        dense_identity(cfg, 30, "epoch"),
    )


@pytest.mark.parametrize("override", SAME)
def test_where_and_what_for_changes_nothing(override: str):
    assert identities(override) == identities()


@pytest.mark.parametrize("override", PRUNED_ONLY)
def test_what_only_the_pruned_network_has_leaves_the_dense_ones(override: str):
    first, second = identities(), identities(override)
    assert first[0] != second[0]
    assert first[1:] == second[1:]


@pytest.mark.parametrize("override", OTHER)
def test_what_changes_the_training_changes_all(override: str):
    assert all(a != b for a, b in zip(identities(), identities(override), strict=True))


def test_the_events_times_are_the_control_s():
    cfg = compose("train")
    assert control_identity(cfg, {1: 0.5}, "epoch") == control_identity(cfg, {1: 0.1}, "epoch")
    assert control_identity(cfg, {1: 0.5}, "epoch") != control_identity(cfg, {2: 0.5}, "epoch")
    assert dense_identity(cfg, 1, "epoch") != dense_identity(cfg, 1, "step")


def test_of_a_path_the_last_part_counts(monkeypatch: pytest.MonkeyPatch):
    """The same data in another place are the same, other data are others."""
    places = [compose("train", "data=mnist", f"data.root={r}") for r in ("/a/x", "/b/x", "/b/y")]
    first, second, third = map(run_identity, places)
    assert first == second != third
    found = []
    for root in ("/a", "/b"):
        monkeypatch.setenv("LIGHTNING_PRUNE_DATA", root)
        found.append(run_identity(compose("train", "data=mnist")))
    assert found[0] == found[1]
