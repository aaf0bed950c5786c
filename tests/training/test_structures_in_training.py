"""Structures in a Trainer: a resumed run has the bits of the straight one."""

import pytest
import torch
from classifiers import Classifier, Probe, convolutional, loader, trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_prune import Method, OneShot, Pruning, Steps
from lightning_prune.allocations import Patterned, Threshold
from lightning_prune.criteria import Magnitude, Random
from lightning_prune.structures import Blocks, Channels, Pattern

METHODS = {
    "channels": "channel_norm",
    "channels, one threshold": Method(Magnitude(), Channels("max"), Threshold("layer_max")),
    "pattern": "pattern_2_4",
    "pattern of random weights": Method(Random(), Pattern(1, 2), Patterned()),
    "blocks": "block_magnitude",
    "blocks that do not divide": Method(Magnitude(), Blocks(3, 5), Threshold()),
}


def run(method, seed, folder, resume=None):
    torch.manual_seed(seed)
    task = Classifier(convolutional())
    pruning = Pruning(method, Steps({1: 0.8, 3: 0.6}), verbose=False)
    zeros = Probe("on_train_batch_end", lambda _, module: _zeros(module))
    saver = ModelCheckpoint(folder, "{epoch}", save_top_k=-1)
    data = loader(48, (1, 7, 7))
    runner = trainer(pruning, zeros, saver, max_epochs=4, enable_checkpointing=True)
    runner.fit(task, data, ckpt_path=resume)
    return task, pruning, zeros.seen


def _zeros(module):
    return {name: p == 0 for name, p in module.named_parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_is_the_straight_one(name, tmp_path):
    straight, pruning, zeros = run(METHODS[name], 0, tmp_path)
    gone = zeros[3]  # after the first batch of the first event
    assert any(bool(flags.any()) for flags in gone.values())
    for later in zeros[4:]:
        assert all(bool((later[key] | ~flags).all()) for key, flags in gone.items())
    nonzero = sum(int(p.count_nonzero()) for p in straight.parameters())
    assert nonzero == pruning.events[-1]["left"] <= 0.6 * pruning.events[-1]["dense"]
    saved = tmp_path / "epoch=1.ckpt"
    resumed, again, after = run(METHODS[name], 1, tmp_path, saved)
    assert len(after) == 6, "two epochs of three batches"
    assert all(torch.equal(after[0][key], flags) for key, flags in zeros[6].items())
    for key, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    lefts = [[event["left"] for event in each.events] for each in (pruning, again)]
    assert lefts[0] == lefts[1]


def test_a_pattern_that_leaves_too_much_is_refused_before_training():
    """Half of 792 weights leave the 891 parameters; the first layer has one input."""
    task = Classifier(convolutional())
    pruning = Pruning("pattern_2_4", OneShot(2, keep=0.4), verbose=False)
    steps = Probe("on_train_batch_start", lambda *_: None)
    with pytest.raises(ValueError, match=r"smallest reachable keep is 0\.5556"):
        trainer(pruning, steps).fit(task, loader(48, (1, 7, 7)))
    assert not steps.seen
