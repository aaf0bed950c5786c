"""The state of the callback: valid at any time, safe to load, and small in files and memory."""

import io

import pytest
import torch
from cases import EPOCHS, Case
from processes import in_new_process
from retained import measure
from subject import Net, differences, fit
from torch import nn

from lightning_prune import Geometric, Pruning, Rewind

PLAIN = (torch.Tensor, int, float, str, bool, type(None))


def foreign(value, path="state"):
    """Where there is something else than tensors, numbers, strings, lists and dicts."""
    if type(value) is dict:
        return [p for key, item in value.items() for p in foreign(item, f"{path}.{key}")]
    if type(value) is list:
        return [p for i, item in enumerate(value) for p in foreign(item, f"{path}.{i}")]
    return [] if type(value) in PLAIN else [f"{path} is a {type(value).__name__}"]


def size(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.tell()


class Restarted(Net):
    """An optimizer with tuples among its options, and schedulers within a scheduler."""

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), 1e-2, amsgrad=True)
        rates = torch.optim.lr_scheduler
        parts = [rates.MultiStepLR(optimizer, [2, 2, 4]), rates.StepLR(optimizer, 3)]
        steps = rates.SequentialLR(optimizer, parts, milestones=[6])
        return [optimizer], [{"scheduler": steps, "interval": "step"}]


def test_a_state_is_valid_from_construction_and_is_taken_back():
    fresh = Pruning("magnitude", EPOCHS, rewind=Rewind(0, weights=True), verbose=False)
    state = fresh.state_dict()
    assert foreign(state) == []
    fresh.load_state_dict(state)
    assert differences({**state, "random": 0}, {**fresh.state_dict(), "random": 0}) == []
    run = fit(fresh, seed=0)
    assert [event["keep_target"] for event in run["events"]] == [0.7, 0.5, 0.3]


@pytest.mark.parametrize("method", ["magnitude", "filter_norm", "random", "none"])
def test_a_state_holds_what_loads_safely_and_comes_back_whole(method, tmp_path):
    callback = Pruning(method, EPOCHS, rewind=Rewind(1, weights=True), verbose=False)
    fit(callback, seed=0, net=Restarted())
    state = callback.state_dict()
    assert foreign(state) == []
    assert set(state["snapshot"]) == {"to", "weights", "optimizers", "schedulers", "groups"}
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    other = Pruning(method, EPOCHS, rewind=Rewind(1, weights=True), verbose=False)
    other.load_state_dict(loaded)
    assert other.events == callback.events
    assert len(other.events) == 3
    assert differences({**state, "random": 0}, {**other.state_dict(), "random": 0}) == []


def test_what_is_rewound_has_the_types_that_it_had():
    callback = Pruning("magnitude", EPOCHS, rewind=Rewind(0), verbose=False)
    run = fit(callback, seed=0, net=Restarted())
    (group,) = run["optimizers"][0]["param_groups"]
    assert group["betas"] == (0.9, 0.999)
    rates = [loss[3] for loss in run["losses"]]
    # one step a batch, four an epoch; every event starts them anew
    assert rates[:4] == pytest.approx([1e-2, 1e-2, 1e-4, 1e-4])
    assert rates[4:8] == rates[8:12] == rates[12:16] == rates[:4]
    assert rates[16] == pytest.approx(1e-5)  # the last cycle goes on


def test_masks_take_one_bit_a_weight():
    callback = Case("magnitude").pruning()
    run = fit(callback, seed=0)
    weights = {name: t for name, t in run["weights"].items() if t.dim() > 1}
    masks = run["masks"]
    assert masks["sizes"] == [t.numel() for t in weights.values()]
    assert masks["bits"].dtype == torch.uint8
    assert masks["bits"].numel() == sum((t.numel() + 7) // 8 for t in weights.values())
    kept = sum(bin(byte).count("1") for byte in masks["bits"].tolist())
    assert kept == sum(int(t.count_nonzero()) for t in weights.values())


class Large(Net):
    """400,000 weights."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 600), nn.ReLU(), nn.Linear(600, 600), nn.Linear(600, 4)
        )


def test_a_checkpoint_grows_by_a_24th_of_the_weights_at_most(tmp_path):
    events = Geometric(first=1, every=1, events=10, keep=0.2)
    net, few = Large(), {"max_epochs": 11, "limit_train_batches": 1, "limit_val_batches": 0}
    file = tmp_path / "last.ckpt"
    callback = Pruning("magnitude", events, rewind=Rewind(0), verbose=False)

    def save(trainer, module):
        trainer.save_checkpoint(file)

    net.on_train_end = lambda: save(net.trainer, net)
    fit(callback, seed=0, net=net, **few)
    whole = torch.load(file, weights_only=True)
    assert len(callback.events) == 10
    without = {
        **whole,
        "callbacks": {k: v for k, v in whole["callbacks"].items() if k != "Pruning"},
    }
    weights = 4 * sum(p.numel() for p in net.parameters())
    growth = size(whole) - size(without)
    assert growth > weights / 32
    assert growth < weights / 24


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "rewind", "most"),
    [
        ("magnitude", None, 2.1),
        ("magnitude", Rewind(0, weights=True), 3.1),
        ("filter_norm", Rewind(1, weights=True), 3.1),
        ("none", Rewind(0), 1.01),
    ],
)
def test_little_is_retained_after_ten_events(method, rewind, most, tmp_path):
    found = in_new_process(measure, method, rewind, folder=tmp_path)
    assert found["events"] == 10
    assert found["parameters"] > 4e6
    assert found["before"] <= (2.1 if most > 3 else 1.1) * found["parameters"]
    assert found["after"] <= most * found["parameters"]
    assert found["after"] > (most - 0.15) * found["parameters"]  # so the measure sees them
